"""Whether a chain store is what it says it is: every block, both tries, the flat table.

Theory. The tip's tries are walked once, every hash recomputed. Their leaves must be the flat table:
instead of looking each key up, both sides are summed, one 256-bit digest per (path, value), which
takes one pass each and no memory; only where the sums differ the keys are looked up to name the
culprits. Older tries are not walked: each stored node is the tip's or stands on exactly one kept
stale list, so counting shows what is missing and what is left over. Headers then bind the chain of
blocks to the tip and each kept root to its block.

It guards against disks and bugs, not against an operator, who may forge what is not signed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from p2p_aios.codec import schema
from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import Corrupt, Invalid
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.records import Roots, Tip
from p2p_aios.store.snapshot import BLOCKS, NODES, STATE, Snapshot
from p2p_aios.trie.codec import PASH_CODEC, STATE_CODEC, NodeCodec, state_path
from p2p_aios.trie.lookup import lookup, walk
from p2p_aios.trie.nodes import Branch, Leaf, bytes_of, root_hash
from p2p_aios.types.block import BLOCK_BYTES_MAX, Block, Header, block_hash, transactions_root
from p2p_aios.types.receipt import BlockOutcome, receipts_root
from p2p_aios.units import Hash

OUTCOME_BYTES_MAX: Final = 64 << 20
"""Decoder's bound on outcomes of our own store."""
PROBLEMS_MAX: Final = 20
"""Problems told; a damaged disk has as many as one likes."""
PROGRESS_STEP: Final = 8192
"""Things looked at between two calls of `progress`."""
_SUM_MASK: Final = 2**256 - 1

Progress = Callable[[str, int, int], None]
"""Told of the phase, how many are done and, of how many; 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What was looked at, and what is wrong with it."""

    height: int
    """Of the tip; -1 for an empty store."""
    blocks: int
    state_entries: int
    trie_nodes: int
    """Of the tip's tries."""
    older_nodes: int
    """Kept for earlier blocks."""
    problems: tuple[str, ...]
    """Empty where all is well; at most PROBLEMS_MAX."""


@dataclass(slots=True)
class _Check:
    """One check in progress."""

    snapshot: Snapshot
    progress: Progress
    problems: list[str] = field(default_factory=list)

    def blame(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)


def check_chain(store: ChainStore, progress: Progress = lambda *_: None) -> CheckReport:
    """Look at everything in the store; the reader it needs is open all the while.

    Raises nothing for damage: that is what the report tells.
    """
    with store.snapshot() as snapshot:
        check = _Check(snapshot, progress)
        try:
            tip, counts = snapshot.tip(), snapshot.counts()
        except Corrupt as error:
            return CheckReport(-1, 0, 0, 0, 0, (error.message,))
        if tip is None:
            left = sum(counts[table] for table in (BLOCKS, STATE, NODES))
            problems = (f"no tip, but {left} entries",) if left else ()
            return CheckReport(-1, 0, 0, 0, 0, problems)
        try:
            _check_blocks(check, tip, counts[BLOCKS])
        except Corrupt as error:
            check.blame(error.message)
        nodes, older = _check_tries(check, tip, counts)
        return CheckReport(
            tip.height, counts[BLOCKS], counts[STATE], nodes, older, tuple(check.problems)
        )


def _check_blocks(check: _Check, tip: Tip, count: int) -> None:
    """Heights without gaps, each block the child of the one before, up to the tip."""
    before: tuple[int, Hash | None] | None = None
    for height, encoded, _ in check.snapshot.blocks(0):
        if height % PROGRESS_STEP == 0:
            check.progress("blocks", height, count)
        if before is not None and height != before[0] + 1:
            check.blame(f"blocks {before[0] + 1} to {height - 1} are missing")
            before = None
        # Genesis is no block: its name, the chain id, is what its child names as its parent.
        name = _check_block(check, height, encoded, before) if height else None
        before = (height, name)
    if before is None or before[0] != tip.height:
        check.blame(f"the tip is {tip.height}, which is not the last block")
    elif before[1] not in (tip.block_hash, None):
        check.blame(f"the tip names another block at height {tip.height}")


def _check_block(
    check: _Check, height: int, encoded: bytes, before: tuple[int, Hash | None] | None
) -> Hash | None:
    """One block, its place in the index and its roots; its hash, None where it is unreadable."""
    try:
        block = schema.decode(Block, encoded, BLOCK_BYTES_MAX)
    except Invalid as error:
        check.blame(f"block {height} is damaged: {error.message}")
        return None
    header = block.header
    name = block_hash(header)
    if transactions_root(block.transactions) != header.tx_root:
        check.blame(f"the transactions of block {height} are not those in its header")
    if header.height != height or check.snapshot.find_block(name) != height:
        check.blame(f"block {height} is not the one that was stored under its hash")
    if before is not None:
        is_child = (
            header.parent == before[1]
            if before[1] is not None
            else check.snapshot.find_block(header.parent) == height - 1
        )
        if not is_child:
            check.blame(f"block {height} is no child of block {height - 1}")
    _check_outcome(check, height, header)
    _check_roots(check, height, header)
    return name


def _check_outcome(check: _Check, height: int, header: Header) -> None:
    stored = check.snapshot.read_outcome(height)
    if stored is None:
        check.blame(f"the receipts of block {height} are missing")
        return
    try:
        outcome = schema.decode(BlockOutcome, stored, OUTCOME_BYTES_MAX)
    except Invalid as error:
        check.blame(f"the receipts of block {height} are damaged: {error.message}")
        return
    if receipts_root(outcome.receipts, outcome.events) != header.receipts_root:
        check.blame(f"the receipts of block {height} are not those in its header")


def _check_roots(check: _Check, height: int, header: Header) -> None:
    try:
        roots = check.snapshot.read_roots(height)
    except Corrupt as error:
        check.blame(f"the roots of block {height}: {error.message}")
        return
    if roots is not None and not _are_of(roots, header):
        check.blame(f"the roots kept for block {height} are not those in its header")


def _are_of(roots: Roots, header: Header) -> bool:
    state, pash = root_hash(STATE_CODEC, roots.state), root_hash(PASH_CODEC, roots.pash)
    return (state, pash) == (header.state_root, header.pash_root)


def _check_tries(check: _Check, tip: Tip, counts: dict[str, int]) -> tuple[int, int]:
    """The tip's tries, the flat table, and what is kept for earlier blocks; nodes of both."""
    try:
        if check.snapshot.read_roots(tip.height) != tip.roots:
            check.blame("the tip's roots are not those kept for its block")
        leaves, nodes, digest = _sum_trie(check, STATE_CODEC, tip.roots.state, counts[NODES])
        _, contributions, _ = _sum_trie(check, PASH_CODEC, tip.roots.pash, counts[NODES])
        nodes += contributions
        if (leaves, digest) != (counts[STATE], _sum_table(check, counts[STATE])):
            _name_culprits(check, tip, leaves, counts[STATE])
        stale = _count_stale(check)
    except Corrupt as error:
        check.blame(error.message)
        return 0, 0
    surplus = counts[NODES] - nodes - stale
    if surplus:
        what = "too many" if surplus > 0 else "too few"
        check.blame(f"{abs(surplus)} trie nodes {what}: stored are {counts[NODES]}")
    return nodes, stale


def _count_stale(check: _Check) -> int:
    """Nodes that only earlier blocks' tries hold."""
    stale = 0
    for node_id in check.snapshot.stale_ids():
        stale += 1
        if check.snapshot.read_node(node_id) is None:
            check.blame(f"trie node {node_id.hex()} of an earlier block is missing")
    return stale


def _sum_trie(
    check: _Check, codec: NodeCodec, root: bytes | None, nodes_max: int
) -> tuple[int, int, int]:
    """(leaves, nodes, sum of the leaves' digests); raises Corrupt for a node that is wrong."""
    leaves = nodes = total = 0
    for nibbles, node, _ in walk(codec, check.snapshot.read_node, root, checked=True):
        if nodes % PROGRESS_STEP == 0:
            check.progress("trie", nodes, nodes_max)
        nodes += 1
        if isinstance(node, Leaf):
            leaves += 1
            total += _digest(bytes_of(nibbles + node.path), node.value)
        elif isinstance(node, Branch) and node.value is not None:
            leaves += 1
            total += _digest(bytes_of(nibbles), node.value)
    return leaves, nodes, total & _SUM_MASK


def _sum_table(check: _Check, entries: int) -> int:
    total = 0
    for index, (key, value) in enumerate(check.snapshot.state_items()):
        if index % PROGRESS_STEP == 0:
            check.progress("flat table", index, entries)
        total += _digest(state_path(key), value)
    return total & _SUM_MASK


def _digest(path: bytes, value: bytes) -> int:
    # Paths have one length, so that no two pairs run together alike.
    return int.from_bytes(sha256(path + value), "big")


def _name_culprits(check: _Check, tip: Tip, leaves: int, entries: int) -> None:
    """Say where the flat table and the state trie differ."""
    for key, value in _differing(check.snapshot, tip.roots.state):
        has = "lacks" if value is None else "has another value for"
        check.blame(f"the state trie {has} {key.hex()}")
        if len(check.problems) == PROBLEMS_MAX:
            return
    check.blame(f"the flat table has {entries} keys, the state trie {leaves}")


def _differing(snapshot: Snapshot, root: bytes | None) -> Iterator[tuple[bytes, bytes | None]]:
    """Keys of the flat table whose value is another in the trie, and that one."""
    for key, value in snapshot.state_items():
        found = lookup(STATE_CODEC, snapshot.read_node, root, state_path(key))
        if found != value:
            yield key, found
