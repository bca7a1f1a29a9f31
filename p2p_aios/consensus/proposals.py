"""The voter's part: what a proposal must be to be kept, followed, executed and notarized."""

from enum import Enum, auto

from p2p_aios.consensus.candidates import Standing
from p2p_aios.consensus.committee import verify_vote
from p2p_aios.consensus.events import Now, Refused
from p2p_aios.consensus.instance import PROPOSALS_AHEAD_MAX, Instance
from p2p_aios.consensus.pacing import monotonic_of
from p2p_aios.consensus.view import Round
from p2p_aios.consensus.voting import cast_vote, count_vote, receive_vote
from p2p_aios.errors import Invalid
from p2p_aios.types.block import Block, Header, Proposal, block_hash, transactions_root
from p2p_aios.types.vote import Ballot, Seat, VoteKind
from p2p_aios.units import Hash


class Link(Enum):
    """How a proposal stands to the blocks and certificates we hold."""

    OPEN = auto()
    """Something it builds on is missing here."""
    GOOD = auto()
    WRONG = auto()
    """It breaks a rule, whatever may still come."""


def receive_proposal(x: Instance, seat: Seat, proposal: Proposal, now: Now) -> None:
    """Keep a leader's first proposal for a view, and count the vote it carries."""
    if not x.settled_view < proposal.view <= x.view + PROPOSALS_AHEAD_MAX:
        return
    if proposal.view < x.floor:
        return
    round_ = x.round(proposal.view)
    if _is_needless(x, round_, seat, proposal):
        return
    try:
        _require_form(x, seat, proposal)
        if round_.vote_of(VoteKind.NOTARIZE, seat) is not None:
            # A second block, or the bare vote came first: the vote tells which.
            receive_vote(x, seat, proposal.vote, now)
            _keep_if_voted(x, proposal)
            return
        verify_vote(x.roster.committee, x.identity.chain_id, proposal.vote)
    except Invalid as error:
        x.out.emit(Refused(x.address(seat), error.code))
        return
    round_.proposal = proposal
    x.candidates.add(proposal.block)
    count_vote(x, proposal.vote, now)


def _is_needless(x: Instance, round_: Round, seat: Seat, proposal: Proposal) -> bool:
    """Whether it is here by now, or would only prove once more that its leader contradicts itself:
    such ones cost no further look."""
    voted = round_.vote_of(VoteKind.NOTARIZE, seat)
    if voted is None:
        return False
    if voted.ballot == proposal.vote.ballot:
        return round_.proposal is not None
    return seat in x.reported


def _keep_if_voted(x: Instance, proposal: Proposal) -> None:
    # The leader's bare vote may have come before its proposal, repeated after a loss.
    round_ = x.round(proposal.view)
    voted = round_.vote_of(VoteKind.NOTARIZE, proposal.vote.seat)
    if round_.proposal is None and voted == proposal.vote:
        round_.proposal = proposal
        x.candidates.add(proposal.block)


def _require_form(x: Instance, seat: Seat, proposal: Proposal) -> None:
    """What can be checked of a proposal alone; all but the vote's signature.

    Raises Invalid: `proposal_leader`, `proposal_vote`, `proposal_header`, `proposal_body`.
    """
    header, view = proposal.block.header, proposal.view
    if x.roster.leader(view) != seat or proposal.vote.seat != seat:
        raise Invalid("proposal_leader", f"seat {seat} does not lead view {view}")
    ballot = Ballot(VoteKind.NOTARIZE, x.epoch, view, block_hash(header))
    if proposal.vote.ballot != ballot or proposal.parent_view >= view:
        raise Invalid("proposal_vote", "the leader's vote is not for its proposal")
    is_fresh = header.view == view and header.proposer == x.address(seat)
    is_return = header.view < view and header.height == x.last_height
    belongs = (header.chain_id, header.epoch) == (x.identity.chain_id, x.epoch)
    if not belongs or not (is_fresh or is_return) or header.height > x.last_height:
        raise Invalid("proposal_header", "the block does not belong to this epoch and view")
    require_body(proposal.block)


def require_body(block: Block) -> None:
    """Raise Invalid(`proposal_body`) where a body is not the one its header names."""
    if transactions_root(block.transactions) != block.header.tx_root:
        raise Invalid("proposal_body", "the transactions are not the header's")


def link_of(x: Instance, proposal: Proposal) -> Link:
    """Whether the proposal follows what is certified here.

    Its parent is the block notarized in its parent view, and every view between is nullified. An
    epoch's last block, proposed again, is itself what the parent view notarized.
    """
    header = proposal.block.header
    if proposal.parent_view < x.settled_view:
        return Link.WRONG
    parent = x.certified(proposal.parent_view)
    if parent is None or x.missing_certificates(proposal.parent_view, proposal.view):
        return Link.OPEN
    if header.view < proposal.view:
        return Link.GOOD if parent == proposal.vote.ballot.block else Link.WRONG
    return _link_to_parent(x, header, parent, bool(proposal.block.transactions))


def _link_to_parent(x: Instance, header: Header, parent: Hash, is_loaded: bool) -> Link:
    if header.parent != parent:
        return Link.WRONG
    height, parent_ms = x.candidates.height(parent), x.candidates.timestamp_ms(parent)
    if height is None or parent_ms is None:
        return Link.OPEN
    params = x.identity.params
    follows = header.height == height + 1
    in_time = header.timestamp_ms >= parent_ms + params.block_interval_ms
    if not follows or not in_time:
        return Link.WRONG
    # Twice the leader's own limit, for our tip may be the older one; it bounds what we must hold.
    unfinalized = height - x.candidates.tip.height
    overloads = is_loaded and unfinalized > 2 * params.unfinalized_blocks_max
    return Link.OPEN if overloads else Link.GOOD


def notarize_if_due(x: Instance, now: Now) -> bool:
    """Notarize the current view's proposal once it is linked, executed and not from the future."""
    round_ = x.rounds.get(x.view)
    proposal = round_.proposal if round_ is not None else None
    if round_ is None or proposal is None or round_.is_refused:
        return False
    if x.has_own(VoteKind.NOTARIZE, x.view) or x.has_own(VoteKind.NULLIFY, x.view):
        return False
    link, block = link_of(x, proposal), proposal.vote.ballot.block
    if link is Link.WRONG or _is_invalid(x, block):
        round_.is_refused = True
        x.out.emit(Refused(x.address(proposal.vote.seat), "proposal_refused"))
        return True
    if link is Link.OPEN or not x.candidates.is_executed(block):
        return False
    if now.monotonic_ms < hold_until_ms(x, proposal.block.header, now) or not x.may_sign(now):
        return False
    x.out.persist(proposal)
    return cast_vote(x, VoteKind.NOTARIZE, x.view, block, now)


def hold_until_ms(x: Instance, header: Header, now: Now) -> int:
    """Monotonic time from which the block's timestamp is no longer too far ahead of our clock."""
    return monotonic_of(header.timestamp_ms - x.identity.params.clock_skew_ms, now)


def _is_invalid(x: Instance, block: Hash) -> bool:
    known = x.candidates.get(block)
    return known is not None and known.standing is Standing.INVALID
