"""Proof that one key signed what no honest validator signs both (DESIGN §6, "Evidence").

Votes travel only from their voter, so one who votes differently to different members shows each of
them a single vote. The certificates made of the others' votes give it away.
"""

from p2p_aios.consensus.committee import verify_vote
from p2p_aios.consensus.events import ReportEvidence
from p2p_aios.consensus.instance import Instance
from p2p_aios.errors import Invalid
from p2p_aios.types.vote import Certificate, Vote


def report_evidence(x: Instance, first: Vote, second: Vote) -> None:
    """Report a seat's conflicting votes, both checked, once per epoch."""
    if first.seat not in x.reported:
        x.reported.add(first.seat)
        x.out.emit(ReportEvidence(first, second))


def search_certificate(x: Instance, certificate: Certificate) -> None:
    """Look in a certificate for a vote that conflicts with one held. At most one signature is
    checked, so that certificates for decided views stay cheap."""
    round_ = x.rounds.get(certificate.ballot.view)
    if round_ is None or not round_.is_disputed(certificate.ballot):
        return
    for seat, signature in zip(certificate.seats, certificate.signatures, strict=False):
        vote = Vote(certificate.ballot, seat, signature)
        held = round_.conflicting(vote)
        if held is None or seat in x.reported or seat == x.seat:
            continue
        try:
            verify_vote(x.roster.committee, x.identity.chain_id, vote)
        except Invalid:
            return
        report_evidence(x, held, vote)
        return
