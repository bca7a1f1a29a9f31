"""The leader's part: choosing a parent, asking for a block in time, proposing it at its slot."""

from p2p_aios.consensus.candidates import Standing
from p2p_aios.consensus.events import Build, Now
from p2p_aios.consensus.instance import Construction, Instance
from p2p_aios.consensus.pacing import block_timestamp, build_lead
from p2p_aios.consensus.voting import count_vote, sign_vote
from p2p_aios.types.block import Block, Proposal, block_hash
from p2p_aios.types.vote import VoteKind
from p2p_aios.units import Hash, Height, View


def lead_if_due(x: Instance, now: Now) -> bool:
    """Ask for a block, or propose it; whether something was proposed."""
    if not is_leading(x):
        return False
    parent_view = parent_view_of(x)
    parent = x.certified(parent_view) if parent_view is not None else None
    if parent_view is None or parent is None or not x.candidates.is_executed(parent):
        return False
    slot_ms = x.slot_ms(now)
    if x.is_last_of_epoch(parent):
        return now.monotonic_ms >= slot_ms and _propose_again(x, parent, parent_view, now)
    if x.construction is None:
        if now.monotonic_ms >= slot_ms - build_lead(x.last_build_ms):
            _ask_for_block(x, parent, parent_view, now)
        return False
    block = x.construction.block
    if block is None or now.monotonic_ms < slot_ms:
        return False
    return _propose(x, block, x.construction.parent_view, now)


def is_leading(x: Instance) -> bool:
    """Whether the current view is ours and still waits for our proposal."""
    return (
        x.signs
        and x.view > x.settled_view
        and x.leader() == x.seat
        and not x.has_own(VoteKind.NOTARIZE, x.view)
        and not x.has_own(VoteKind.NULLIFY, x.view)
    )


def parent_view_of(x: Instance) -> View | None:
    """The newest notarized view that every later view was nullified after; None where we lack a
    certificate to tell."""
    view = x.view - 1
    while view > x.settled_view and x.certified(View(view)) is None:
        if not x.is_nullified(View(view)):
            return None
        view -= 1
    return View(view)


def _ask_for_block(x: Instance, parent: Hash, parent_view: View, now: Now) -> None:
    parent_ms, height = x.candidates.timestamp_ms(parent), x.candidates.height(parent)
    if parent_ms is None or height is None:
        return
    params = x.identity.params
    x.construction = Construction(parent, parent_view, now.monotonic_ms)
    x.out.emit(
        Build(
            parent,
            Height(height + 1),
            x.epoch,
            x.view,
            block_timestamp(parent_ms, now.wall_ms, params.block_interval_ms),
            height - x.candidates.tip.height >= params.unfinalized_blocks_max,
        )
    )


def receive_built(x: Instance, block: Block, now: Now) -> None:
    """Take the driver's block, unless its view has passed."""
    construction, header = x.construction, block.header
    if construction is None or construction.block is not None:
        return
    if (header.epoch, header.view, header.parent) != (x.epoch, x.view, construction.parent):
        return
    construction.block = block
    x.last_build_ms = now.monotonic_ms - construction.asked_ms
    x.candidates.add(block, Standing.VALID)


def _propose_again(x: Instance, block: Hash, parent_view: View, now: Now) -> bool:
    known = x.candidates.get(block)
    # The tip itself needs no second proposal: it is final, and the epoch with it.
    return known is not None and _propose(x, known.block, parent_view, now)


def _propose(x: Instance, block: Block, parent_view: View, now: Now) -> bool:
    vote = sign_vote(x, VoteKind.NOTARIZE, x.view, block_hash(block.header), now)
    if vote is None:
        return False
    proposal = Proposal(block, x.view, parent_view, vote)
    x.round(x.view).proposal = proposal
    x.out.persist(proposal)
    x.out.send(x.others, proposal)
    count_vote(x, vote, now)
    return True
