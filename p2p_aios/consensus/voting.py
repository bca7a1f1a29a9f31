"""Votes and certificates: casting, counting, and moving from view to view."""

from p2p_aios.consensus.committee import is_blocking, verify_certificate, verify_vote
from p2p_aios.consensus.events import Now, Refused
from p2p_aios.consensus.evidence import report_evidence, search_certificate
from p2p_aios.consensus.instance import VIEWS_AHEAD_MAX, Instance
from p2p_aios.consensus.pacing import REBROADCAST_MS
from p2p_aios.consensus.records import Silenced
from p2p_aios.consensus.view import Round
from p2p_aios.errors import Invalid, invariant
from p2p_aios.types.vote import (
    Ballot,
    Certificate,
    Seat,
    Vote,
    VoteKind,
    ballot_digest,
)
from p2p_aios.units import ZERO_HASH, Address, Hash, View


def sign_vote(x: Instance, kind: VoteKind, view: View, block: Hash, now: Now) -> Vote | None:
    """Sign and journal a vote; None where the rules forbid it. Sending it is the caller's."""
    if not x.may_sign(now) or x.seat is None or view <= x.settled_view or view < x.floor:
        return None
    round_ = x.round(view)
    ballot = Ballot(kind, x.epoch, view, block)
    if round_.vote_of(kind, x.seat) is not None:
        return None
    digest = ballot_digest(x.identity.chain_id, ballot)
    vote = Vote(ballot, x.seat, x.identity.keys.sign_digest(digest))
    if round_.conflicting(vote) is not None:
        return None
    x.out.persist(vote)
    return vote


def cast_vote(x: Instance, kind: VoteKind, view: View, block: Hash, now: Now) -> bool:
    """Vote, tell every member, count it; False where the rules forbid the vote."""
    vote = sign_vote(x, kind, view, block, now)
    if vote is None:
        return False
    x.out.send(x.others, vote)
    count_vote(x, vote, now)
    return True


def count_vote(x: Instance, vote: Vote, now: Now) -> None:
    """Add a checked vote to its view's tally."""
    certificate = x.round(vote.ballot.view).add(vote, x.roster)
    if certificate is not None:
        accept_certificate(x, certificate, now)


def is_decided(x: Instance, ballot: Ballot) -> bool:
    """Whether a vote or certificate on this ballot has nothing left to decide."""
    if ballot.view <= x.settled_view or ballot.view < x.floor:
        return True
    round_ = x.rounds.get(ballot.view)
    return round_ is not None and ballot.kind in round_.certificates


def receive_vote(x: Instance, seat: Seat, vote: Vote, now: Now) -> None:
    """Take a vote from the member it claims to be of; signatures of needless ones go unchecked."""
    view = vote.ballot.view
    if vote.seat != seat:
        x.out.emit(Refused(x.address(seat), "vote_relayed"))
        return
    if not x.floor <= view <= x.view + VIEWS_AHEAD_MAX:
        return
    round_ = x.rounds.get(view)
    held = round_.conflicting(vote) if round_ is not None else None
    is_known = round_ is not None and round_.vote_of(vote.ballot.kind, seat) is not None
    if held is None and (is_known or is_decided(x, vote.ballot)):
        return
    if held is not None and seat in x.reported:
        return
    try:
        verify_vote(x.roster.committee, x.identity.chain_id, vote)
    except Invalid as error:
        x.out.emit(Refused(x.address(seat), error.code))
        return
    if held is not None:
        report_evidence(x, held, vote)
    else:
        count_vote(x, vote, now)


def receive_certificate(x: Instance, seat: Seat, certificate: Certificate, now: Now) -> None:
    """Take a certificate. One for a decided view is dropped before its signatures are checked."""
    ballot = certificate.ballot
    search_certificate(x, certificate)
    if is_decided(x, ballot):
        if ballot.view in x.rounds:
            x.rounds[ballot.view].show(ballot.kind, seat)
        return
    try:
        verify_certificate(x.roster.committee, x.identity.chain_id, certificate)
    except Invalid as error:
        x.out.emit(Refused(x.address(seat), error.code))
        return
    _silence_if_forgotten(x, certificate)
    x.round(ballot.view).show(ballot.kind, seat)
    accept_certificate(x, certificate, now)


def _silence_if_forgotten(x: Instance, certificate: Certificate) -> None:
    # Our signature where we remember none: the journal is older than we are, or another process
    # signs with our key. Silence for the epoch is the only answer that cannot equivocate.
    if not x.signs or x.seat not in certificate.seats:
        return
    if not x.has_own(certificate.ballot.kind, certificate.ballot.view):
        x.signs = False
        x.out.persist(Silenced(x.epoch))


def accept_certificate(x: Instance, certificate: Certificate, now: Now) -> None:
    """Act on a certificate, our own or a checked one, for an undecided ballot."""
    ballot = certificate.ballot
    round_ = x.round(ballot.view)
    clash = round_.certified()
    invariant(
        ballot.kind is VoteKind.NULLIFY or clash in (None, ballot.block),
        "two blocks notarized in one view: more than a third of the weight is dishonest",
    )
    excluded = {VoteKind.NULLIFY: VoteKind.FINALIZE, VoteKind.FINALIZE: VoteKind.NULLIFY}
    invariant(
        excluded.get(ballot.kind) not in round_.certificates,
        "a view both finalized and nullified: more than a third of the weight is dishonest",
    )
    round_.certificates[ballot.kind] = certificate
    if ballot.kind is not VoteKind.FINALIZE:
        # A finalization goes to disk with its blocks; losing it first loses no promise of ours.
        x.out.persist(certificate)
    tell_certificate(x, round_, certificate)
    match ballot.kind:
        case VoteKind.NOTARIZE:
            x.certified_view = max(x.certified_view, ballot.view)
        case VoteKind.NULLIFY:
            x.nullified += ballot.view >= x.view
        case VoteKind.FINALIZE:
            x.certified_view = max(x.certified_view, ballot.view)
            x.finalization = certificate
            x.nullified = 0
    if ballot.view >= x.view:
        enter_view(x, View(ballot.view + 1), now)
    if ballot.kind is VoteKind.NOTARIZE:
        finalize_notarized(x, round_, now)


def finalize_notarized(x: Instance, round_: Round, now: Now) -> None:
    """Vote to finalize a notarized view that we did not nullify and that nobody else did."""
    block = round_.certified()
    if block is not None and not round_.is_nullified():
        cast_vote(x, VoteKind.FINALIZE, round_.view, block, now)


def tell_certificate(x: Instance, round_: Round, certificate: Certificate) -> None:
    """Send a certificate to the members that did not show it."""
    kind = certificate.ballot.kind
    ignorant = [
        address
        for address in x.others
        if (seat := x.roster.seat_of(address)) is not None and not round_.has_shown(kind, seat)
    ]
    x.out.send(tuple(ignorant), certificate)


def enter_view(x: Instance, view: View, now: Now) -> None:
    x.view = view
    x.entered_ms = now.monotonic_ms
    x.rebroadcast_ms = now.monotonic_ms + x.identity.params.block_interval_ms + REBROADCAST_MS
    x.construction = None
    for seat in x.unheard:
        x.unheard[seat] += 1
    x.prune()
    x.candidates.evict(
        block for round_ in x.rounds.values() if (block := round_.certified()) is not None
    )


def nullify_if_due(x: Instance, now: Now) -> bool:
    """Vote to end the current view where waiting longer is pointless."""
    round_ = x.rounds.get(x.view)
    if not x.signs or x.has_own(VoteKind.NULLIFY, x.view) or not _is_time_up(x, round_, now):
        return False
    return cast_vote(x, VoteKind.NULLIFY, x.view, ZERO_HASH, now)


def _is_time_up(x: Instance, round_: Round | None, now: Now) -> bool:
    waited_ms = now.monotonic_ms - x.patience_from_ms(now)
    if waited_ms >= 3 * x.delta_ms():
        return True
    if round_ is not None and (round_.is_refused or _is_hopeless(x, round_)):
        return True
    if round_ is not None and round_.proposal is not None:
        return False
    return x.is_leader_silent() or waited_ms >= 2 * x.delta_ms()


def _is_hopeless(x: Instance, round_: Round) -> bool:
    """Whether the view can no longer become final: joining those who give it up then costs nothing,
    and saves the wait."""
    # Those who nullified cannot finalize.
    nullifying = x.roster.weight_of(list(round_.votes[VoteKind.NULLIFY]))
    # Where the leader contradicts itself, those who notarized one block will not another.
    notarizing: dict[Hash, int] = {}
    for seat, vote in round_.votes[VoteKind.NOTARIZE].items():
        weight = notarizing.get(vote.ballot.block, 0) + x.roster.weight_of([seat])
        notarizing[vote.ballot.block] = weight
    lost = sum(notarizing.values()) - max(notarizing.values(), default=0)
    return is_blocking(max(nullifying, lost), x.roster.total)


def rebroadcast_if_due(x: Instance, now: Now) -> None:
    """Repeat what the others may have missed, at a bounded rate."""
    if now.monotonic_ms < x.rebroadcast_ms:
        return
    x.rebroadcast_ms = now.monotonic_ms + REBROADCAST_MS
    before = x.rounds.get(View(x.view - 1))
    if before is not None:
        for certificate in before.certificates.values():
            tell_certificate(x, before, certificate)
    _repeat_votes(x, x.others)
    _repeat_proposal(x, x.others)


def greet(x: Instance, peer: Address) -> None:
    """Bring a member whose stream stands again to where we are."""
    before = x.rounds.get(View(x.view - 1))
    for certificate in before.certificates.values() if before is not None else ():
        x.out.send((peer,), certificate)
    _repeat_votes(x, (peer,))
    _repeat_proposal(x, (peer,))


def _repeat_votes(x: Instance, recipients: tuple[Address, ...]) -> None:
    repeated = (
        (x.view - 1, VoteKind.FINALIZE),
        (x.view, VoteKind.NOTARIZE),
        (x.view, VoteKind.NULLIFY),
    )
    for view, kind in repeated:
        round_ = x.rounds.get(View(view))
        vote = round_.vote_of(kind, x.seat) if round_ is not None and x.seat is not None else None
        if vote is not None:
            x.out.send(recipients, vote)


def _repeat_proposal(x: Instance, recipients: tuple[Address, ...]) -> None:
    round_ = x.rounds.get(x.view)
    if round_ is None or round_.proposal is None or round_.proposal.vote.seat != x.seat:
        return
    voted = round_.votes[VoteKind.NOTARIZE].keys() | round_.votes[VoteKind.NULLIFY].keys()
    waiting = tuple(peer for peer in recipients if x.roster.seat_of(peer) not in voted)
    x.out.send(waiting, round_.proposal)
