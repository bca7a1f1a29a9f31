"""What the state was: reads and proofs at any height whose trie the store still has.

The flat table knows the latest state only, so these walk the trie from that height's root.
"""

from p2p_aios.codec import schema
from p2p_aios.consensus.committee import last_height
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.projection import project_committee
from p2p_aios.node.chain import FinalizedState
from p2p_aios.params import Params
from p2p_aios.store.records import Roots
from p2p_aios.store.snapshot import Snapshot
from p2p_aios.trie.codec import STATE_CODEC, state_path
from p2p_aios.trie.lookup import lookup
from p2p_aios.trie.proof import prove
from p2p_aios.types.block import BLOCK_BYTES_MAX, Block, Header
from p2p_aios.types.committee import Committee
from p2p_aios.types.proof import PROOF_HEADERS_MAX, FinalityProof, StateProof
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Epoch, Height


class HistoricalState:
    """The state after a block, as the ledger reads it."""

    __slots__ = ("_root", "_snapshot")

    def __init__(self, snapshot: Snapshot, height: Height) -> None:
        """Raises as `roots_at`."""
        self._snapshot = snapshot
        self._root = roots_at(snapshot, height).state

    def get(self, key: bytes, /) -> bytes | None:
        return lookup(STATE_CODEC, self._snapshot.read_node, self._root, state_path(key))


def roots_at(snapshot: Snapshot, height: Height) -> Roots:
    """Raises Invalid(`unknown_block`), Unavailable(`height_pruned`)."""
    roots = snapshot.read_roots(height)
    if roots is not None:
        return roots
    tip = snapshot.tip()
    if tip is None or height > tip.height:
        raise Invalid("unknown_block", f"no finalized block at height {height}")
    raise Unavailable(
        "height_pruned",
        f"this node no longer has the state at height {height}; ask an archive (keep_blocks = 0)",
    )


def find_committee(
    snapshot: Snapshot, params: Params, epoch: Epoch | None, height: Height | None
) -> Committee | None:
    """The committee of an epoch as the state after the block at `height` has it.

    By default of that block's own epoch, and as of the last block. A state forgets committees after
    some epochs; where the last one has, the one at the end of `epoch` answers: in it the committee
    is complete. Raises as `roots_at`.
    """
    if height is not None:
        return project_committee(HistoricalState(snapshot, height), params, epoch)
    found = project_committee(FinalizedState(snapshot), params, epoch)
    if found is not None or epoch is None:
        return found
    last, tip = last_height(epoch, params.epoch_blocks), snapshot.tip()
    if tip is None or last > tip.height:
        return None
    return project_committee(HistoricalState(snapshot, last), params, epoch)


def prove_state(snapshot: Snapshot, key: bytes, height: Height) -> StateProof:
    """What the state after the block at `height` holds at `key`.

    Raises as `roots_at` and `prove_finality`.
    """
    root = roots_at(snapshot, height).state
    path = state_path(key)
    value = lookup(STATE_CODEC, snapshot.read_node, root, path)
    nodes = prove(STATE_CODEC, snapshot.read_node, root, path)
    return StateProof(key, value, nodes, prove_finality(snapshot, height))


def prove_finality(snapshot: Snapshot, height: Height) -> FinalityProof:
    """Raises Invalid(`unknown_block`), Unavailable(`finality_unproven`)."""
    if height == 0:
        raise Invalid("unknown_block", "genesis has no header; chain.genesis is what it holds")
    first = _header(snapshot, height)
    found = snapshot.find_certificate(height)
    if found is None or found[0] - height >= PROOF_HEADERS_MAX:
        raise Unavailable(
            "finality_unproven",
            f"no certificate within {PROOF_HEADERS_MAX} blocks of height {height}; try another",
        )
    last, certificate = found
    rest = [_header(snapshot, Height(each)) for each in range(height + 1, last + 1)]
    return FinalityProof((first, *rest), schema.decode(Certificate, certificate))


def _header(snapshot: Snapshot, height: Height) -> Header:
    block = snapshot.read_block(height)
    if block is None:
        raise Invalid("unknown_block", f"no finalized block at height {height}")
    return schema.decode(Block, block, BLOCK_BYTES_MAX).header
