"""The chain as this node holds it: the finalized state on disk and a tree of candidates above it.

Trio side of `candidate` and `store.chain`. Blocks are executed one at a time in a worker thread,
and each only once: its trie nodes have the ids of that one execution, by which its children name
them. Finalization writes all newly final blocks in one transaction on the writer's thread. While it
writes, further candidates are executed above them: their overlays still shadow the disk, so it
makes no difference which of the two a read finds.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import trio

from p2p_aios.codec import schema
from p2p_aios.errors import Corrupt, Invalid, Unavailable, invariant
from p2p_aios.ledger.genesis import genesis_state
from p2p_aios.ledger.state import StateReader
from p2p_aios.node.branches import Branches
from p2p_aios.node.candidate import (
    Candidate,
    Ground,
    Slot,
    build_candidate,
    execute_candidate,
)
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.records import BlockRecord, FinalizedBatch, Roots
from p2p_aios.store.snapshot import Snapshot
from p2p_aios.store.writer import SerialWriter
from p2p_aios.trie.bulk import update
from p2p_aios.trie.codec import STATE_CODEC, state_path
from p2p_aios.types.block import BLOCK_BYTES_MAX, Block, block_hash
from p2p_aios.types.genesis import Genesis, chain_id
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.transaction import CheckedTransaction
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Epoch, Hash, Height, Millis


@dataclass(frozen=True, slots=True)
class Tip:
    """The last finalized block."""

    height: Height
    hash: Hash
    """The chain id at height 0."""
    timestamp_ms: Millis
    epoch: Epoch
    """Of that block."""
    root: bytes | None
    """Reference of the state trie's root after it."""


@dataclass(frozen=True, slots=True)
class Footing:
    """A block that is executed, and what lies between it and the disk."""

    parent: Hash
    """The block itself: parent of what is built on it."""
    height: Height
    root: bytes | None
    """Reference of the state trie's root after it."""
    layers: tuple[Candidate, ...]
    """Unfinalized blocks from it down, newest first."""
    base: Hash
    """The finalized block below them."""


class FinalizedState:
    """A snapshot as the ledger reads it."""

    __slots__ = ("_snapshot",)

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def get(self, key: bytes, /) -> bytes | None:
        return self._snapshot.read_state(key)


class Chain:
    """Execution, candidates and finalization. Belongs to one Trio task tree."""

    def __init__(self, genesis: Genesis, store: ChainStore, writer: SerialWriter) -> None:
        """For `open_chain` only."""
        self.genesis = genesis
        self.params = genesis.params
        self.chain_id = chain_id(genesis)
        self.store = store
        self._writer = writer
        self._executing = trio.Lock()
        self._branches = Branches()
        tip = store.tip()
        invariant(tip is not None, "an opened chain has its genesis")
        assert tip is not None
        self._next_id = tip.next_id
        self.tip = self._read_tip(tip.height, tip.block_hash, tip.roots.state)

    def candidate(self, block: Hash) -> Candidate | None:
        """An executed block that is not yet final."""
        return self._branches.get(block)

    def snapshot(self) -> Snapshot:
        """The finalized chain as of now, for several reads that must agree."""
        return self.store.snapshot()

    @contextmanager
    def state(self) -> Iterator[StateReader]:
        """The finalized state as of now; leave it soon."""
        with self.store.snapshot() as snapshot:
            yield FinalizedState(snapshot)

    def footing(self, parent: Hash) -> Footing:
        """What a child of `parent` stands on.

        Raises Unavailable(`unknown_parent`) for one that is neither the tip nor a candidate.
        """
        tip = self.tip
        layers = self._branches.way(tip.hash, parent)
        height = layers[0].block.header.height if layers else tip.height
        root = layers[0].change.root if layers else tip.root
        return Footing(parent, height, root, layers, tip.hash)

    def ground(self, footing: Footing, snapshot: Snapshot) -> Ground:
        """A footing with the disk below it. The snapshot must be taken after the footing: a block
        that became final in between is then found in both, never in neither.

        Raises Unavailable(`unknown_parent`) where another block became final in between.
        """
        tip = snapshot.tip()
        below = (footing.base, *(layer.hash for layer in footing.layers))
        if tip is None or tip.block_hash not in below:
            raise Unavailable("unknown_parent", f"finality passed {footing.parent.hex()[:16]} by")
        return Ground(
            self.params,
            self.chain_id,
            footing.parent,
            footing.height,
            footing.root,
            footing.layers,
            snapshot.read_state,
            snapshot.read_node,
        )

    async def build(
        self, footing: Footing, slot: Slot, waiting: Sequence[CheckedTransaction]
    ) -> tuple[Candidate, tuple[tuple[CheckedTransaction, Invalid], ...]]:
        """A block of our own, executed; with the transactions that cannot be included, and why.

        Raises Invalid where the slot itself is impossible, Unavailable as `ground`.
        """

        def work() -> tuple[Candidate, tuple[tuple[CheckedTransaction, Invalid], ...]]:
            with self.store.snapshot() as snapshot:
                ground = self.ground(footing, snapshot)
                built = build_candidate(ground, slot, waiting, self._next_id)
            self._next_id = built[0].change.next_id
            return built

        async with self._executing:
            candidate, rejected = await trio.to_thread.run_sync(work)
            return self._keep(candidate), rejected

    async def execute(
        self, block: Block, transactions: tuple[CheckedTransaction, ...]
    ) -> Candidate:
        """Execute a block whose transactions are checked already, unless that was done before.

        Raises Unavailable(`unknown_parent`), also where the block is final by now, and Invalid
        where the block is not valid.
        """
        async with self._executing:
            known = self._branches.get(block_hash(block.header))
            if known is not None:
                return known
            footing = self.footing(block.header.parent)

            def work() -> Candidate:
                with self.store.snapshot() as snapshot:
                    ground = self.ground(footing, snapshot)
                    executed = execute_candidate(ground, block, transactions, self._next_id)
                self._next_id = executed.change.next_id
                return executed

            return self._keep(await trio.to_thread.run_sync(work))

    async def finalize(
        self, blocks: Sequence[Hash], certificate: Certificate
    ) -> tuple[Candidate, ...]:
        """Write candidates that became final, oldest first; `certificate` is the last one's."""
        final = self._branches.way(self.tip.hash, blocks[-1])[::-1]
        invariant([c.hash for c in final] == list(blocks), "final blocks follow the tip")

        def write() -> None:
            records = [_record(candidate, None) for candidate in final[:-1]]
            records.append(_record(final[-1], certificate))
            next_id = max(candidate.change.next_id for candidate in final)
            self.store.commit(FinalizedBatch(records, next_id))

        await self._writer.run(write)
        last = final[-1]
        header = last.block.header
        self.tip = Tip(
            header.height, last.hash, header.timestamp_ms, header.epoch, last.change.root
        )
        self._branches.rebase(last.hash)
        return final

    def _keep(self, candidate: Candidate) -> Candidate:
        if candidate.block.header.height > self.tip.height:
            return self._branches.add(candidate)
        return candidate

    def _read_tip(self, height: Height, block: Hash, root: bytes | None) -> Tip:
        if height == 0:
            return Tip(height, block, self.genesis.timestamp_ms, Epoch(0), root)
        stored = self.store.read_block(height)
        if stored is None:
            raise Corrupt("store_damaged", f"the tip's block {height} is missing")
        header = schema.decode(Block, stored, BLOCK_BYTES_MAX).header
        return Tip(height, block, header.timestamp_ms, header.epoch, root)


async def open_chain(genesis: Genesis, store: ChainStore, writer: SerialWriter) -> Chain:
    """The chain in `store`, which is begun with `genesis` where it is empty.

    Raises Invalid for an impossible genesis, Corrupt where the disk lies.
    """
    if store.tip() is None:
        await writer.run(store.commit, _genesis_batch(genesis))
    return Chain(genesis, store, writer)


def _genesis_batch(genesis: Genesis) -> FinalizedBatch:
    state = genesis_state(genesis)
    items: dict[bytes, bytes | None] = {state_path(key): value for key, value in state.items()}
    change = update(STATE_CODEC, lambda _: None, None, items, 0)
    record = BlockRecord(
        height=Height(0),
        block_hash=chain_id(genesis),
        block=schema.encode(genesis),
        certificate=None,
        outcome=schema.encode(BlockOutcome((), ())),
        transactions=(),
        state=state,
        nodes=change.nodes,
        stale=change.stale,
        roots=Roots(change.root, None),
    )
    return FinalizedBatch([record], change.next_id)


def _record(candidate: Candidate, certificate: Certificate | None) -> BlockRecord:
    execution = candidate.execution
    return BlockRecord(
        height=candidate.block.header.height,
        block_hash=candidate.hash,
        block=schema.encode(candidate.block),
        certificate=None if certificate is None else schema.encode(certificate),
        outcome=candidate.outcome.encoded(),
        transactions=[transaction.id for transaction in candidate.transactions],
        state=execution.writes,
        nodes=candidate.change.nodes,
        stale=candidate.change.stale,
        roots=Roots(candidate.change.root, None),
    )
