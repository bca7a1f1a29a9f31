"""Beginning an epoch's instance: fresh, from the journal, or from a block fetched elsewhere."""

from collections.abc import Iterable

from p2p_aios.consensus.candidates import Candidates
from p2p_aios.consensus.committee import Roster
from p2p_aios.consensus.events import Now, Outbox, Term
from p2p_aios.consensus.instance import Identity, Instance
from p2p_aios.consensus.memory import Memory
from p2p_aios.consensus.records import Forgotten, Record, Silenced, position_of
from p2p_aios.consensus.voting import enter_view, finalize_notarized
from p2p_aios.errors import invariant
from p2p_aios.types.block import Proposal
from p2p_aios.types.vote import Certificate, Vote, VoteKind
from p2p_aios.units import Address, View


def begin_instance(
    identity: Identity,
    term: Term,
    candidates: Candidates,
    memory: Memory,
    out: Outbox,
    down: set[Address],
) -> Instance:
    """The instance of `term`'s epoch as the tip alone tells it; its view is still 0."""
    roster = Roster(term.committee)
    seat = roster.seat_of(identity.keys.address)
    seats = range(len(term.committee.members))
    x = Instance(
        identity=identity,
        roster=roster,
        candidates=candidates,
        base=candidates.tip.block,
        out=out,
        down=down,
        seat=seat,
        signs=seat is not None and memory.covers(term, candidates.tip, identity.params),
        listens_until_ms=0,
        unheard={other: 0 for other in seats if other != seat},
    )
    certificate = candidates.tip.certificate
    if certificate is not None and certificate.ballot.epoch == x.epoch:
        _restore_certificate(x, certificate)
    return x


def restore_records(x: Instance, records: Iterable[Record]) -> None:
    """Replay this epoch's records; our own journal is trusted, so no signature is checked."""
    for record in records:
        epoch, view = position_of(record)
        if epoch != x.epoch or view <= x.settled_view:
            continue
        match record:
            case Silenced():
                x.signs = False
            case Certificate():
                _restore_certificate(x, record)
            case Vote():
                _restore_vote(x, record)
            case Proposal():
                _restore_proposal(x, record)
            case Forgotten():
                pass  # of a position that is settled here, or this epoch is silent


def resume(x: Instance, now: Now) -> None:
    """Enter the view the journal ends in, and cast what a crash kept from being cast."""
    certified = [view for view, round_ in x.rounds.items() if round_.certificates]
    own = [v for v in x.rounds if any(x.has_own(kind, v) for kind in VoteKind)]
    view = max([View(v + 1) for v in certified] + own, default=View(1))
    enter_view(x, max(view, View(1)), now)
    for round_ in [x.rounds[v] for v in sorted(x.rounds) if v > x.settled_view]:
        finalize_notarized(x, round_, now)


def _restore_certificate(x: Instance, certificate: Certificate) -> None:
    ballot = certificate.ballot
    x.round(ballot.view).certificates[ballot.kind] = certificate
    if ballot.kind is not VoteKind.NULLIFY:
        x.certified_view = max(x.certified_view, ballot.view)
    if ballot.kind is VoteKind.FINALIZE:
        x.finalization = certificate


def _restore_vote(x: Instance, vote: Vote) -> None:
    if vote.seat != x.seat:
        return
    round_ = x.round(vote.ballot.view)
    invariant(
        round_.conflicting(vote) is None, "the journal holds no two conflicting votes of ours"
    )
    round_.hold(vote)


def _restore_proposal(x: Instance, proposal: Proposal) -> None:
    round_ = x.round(proposal.view)
    round_.proposal = proposal
    round_.hold(proposal.vote)
    x.candidates.add(proposal.block)
