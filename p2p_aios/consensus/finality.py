"""From certificates to finalized blocks: executing candidates in order, then moving the tip."""

from typing import Final

from p2p_aios.consensus.candidates import Standing
from p2p_aios.consensus.events import Finalize, Now, Verify
from p2p_aios.consensus.instance import Instance
from p2p_aios.consensus.proposals import Link, link_of
from p2p_aios.errors import Corrupt
from p2p_aios.units import Hash

VERIFY_RETRY_MS: Final = 500
"""From a postponed execution to the next attempt."""


def heads(x: Instance) -> list[Hash]:
    """The blocks whose chains we want held and executed, most wanted first."""
    wanted = [x.finalization.ballot.block] if x.finalization is not None else []
    wanted.append(x.newest_certified())
    round_ = x.rounds.get(x.view)
    if round_ is not None and round_.proposal is not None and not round_.is_refused:
        proposal = round_.proposal
        # Executed only once it follows what is certified; its parent's chain is wanted before.
        parent = x.certified(proposal.parent_view)
        if parent is not None:
            wanted.append(parent)
        if link_of(x, proposal) is Link.GOOD:
            wanted.append(proposal.vote.ballot.block)
    return list(dict.fromkeys(wanted))


def verify_next(x: Instance, now: Now) -> None:
    """Ask for the execution of each head's first unexecuted ancestor whose parent is executed."""
    for head in heads(x):
        for candidate in x.candidates.chain(head) or []:
            if candidate.standing is Standing.HELD and candidate.ask_from_ms <= now.monotonic_ms:
                candidate.standing = Standing.PENDING
                x.out.emit(Verify(candidate.block))
            if candidate.standing is not Standing.VALID:
                break


def receive_verified(x: Instance, block: Hash, code: str | None) -> None:
    """Note a candidate's verdict; a late one, for a block that is gone, is nothing."""
    known = x.candidates.get(block)
    if known is not None and known.standing is Standing.PENDING:
        known.standing = Standing.VALID if code is None else Standing.INVALID


def receive_postponed(x: Instance, block: Hash, now: Now) -> None:
    """Ask again after a while."""
    known = x.candidates.get(block)
    if known is not None and known.standing is Standing.PENDING:
        known.standing = Standing.HELD
        known.ask_from_ms = now.monotonic_ms + VERIFY_RETRY_MS


def finalize_if_due(x: Instance) -> bool:
    """Hand the driver the newest finalized chain once all of it is here and executed.

    Raises Corrupt(`state_diverged`) where a block that the committee finalized fails here: its
    quorum executed it, so our state is not theirs.
    """
    if x.finalization is None:
        return False
    chain = x.candidates.chain(x.finalization.ballot.block)
    if not chain:
        return False
    if any(candidate.standing is Standing.INVALID for candidate in chain):
        raise Corrupt("state_diverged", "a finalized block is invalid against our own state")
    if any(candidate.standing is not Standing.VALID for candidate in chain):
        return False
    blocks = tuple(candidate.block for candidate in chain)
    x.candidates.finalize(chain, x.finalization)
    x.out.emit(Finalize(blocks, x.finalization))
    return True
