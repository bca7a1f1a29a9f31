"""The finalized chain on disk (DESIGN §6 "Execution", §7).

Only final blocks come here, all newly final ones and the tip in one transaction, so the store is
always the exact state after some block. The flat `state` table answers reads; trie nodes lie by
append id beside it, for proofs and for the next block's roots. Each block's stale list names the
nodes its predecessor's tries held and its own do not: some time after a block is `keep_blocks`
behind the tip its list is applied. The nodes on disk are those that the kept roots reach, and those
of lists not yet applied.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

from p2p_aios.codec import schema
from p2p_aios.errors import Corrupt, invariant
from p2p_aios.store.lmdb import MAP_BYTES_FIRST, Environment, open_environment
from p2p_aios.store.pruning import prune
from p2p_aios.store.records import BlockRecord, FinalizedBatch, Place, Roots, StoreFigures, Tip
from p2p_aios.store.snapshot import (
    BLOCKS,
    CERTIFICATES,
    CHAIN,
    HEIGHTS,
    META,
    NODES,
    OUTCOMES,
    ROOTS,
    STALE,
    STATE,
    TABLES,
    TIP,
    TRANSACTIONS,
    Snapshot,
    height_key,
    read_tip,
)
from p2p_aios.store.transaction import Writer
from p2p_aios.units import Hash, Height

KIND: Final = "aios chain"
VERSION: Final = 1


class ChainStore:
    """The finalized chain. Reads come from any thread; commits one at a time.

    Each method that reads sees the newest commit; use `snapshot` where several reads must agree.
    """

    def __init__(self, environment: Environment, keep_blocks: int | None) -> None:
        """For `ChainStore.open` only."""
        self._environment = environment
        self._keep_blocks = keep_blocks
        self._commits = 0
        self._commit_s = 0.0

    @staticmethod
    def open(
        folder: Path,
        chain_id: Hash,
        *,
        keep_blocks: int | None = None,
        sync: bool = True,
        map_bytes: int = MAP_BYTES_FIRST,
    ) -> "ChainStore":
        """Open or create the store of the chain `chain_id`.

        `keep_blocks` is how many blocks behind the tip have their tries still, at least; None keeps
        all.
        Raises as `open_environment`, and Corrupt(`store_other_chain`).
        """
        environment = open_environment(
            folder, KIND, VERSION, TABLES, sync=sync, map_bytes=map_bytes
        )
        try:
            with environment.read() as reader:
                found = reader.get(META, CHAIN)
            if found is None:
                environment.write(lambda writer: writer.put(META, CHAIN, chain_id))
            elif found != chain_id:
                raise Corrupt(
                    "store_other_chain",
                    f"{folder} holds chain {found.hex()}; name another folder or its genesis",
                )
            store = ChainStore(environment, keep_blocks)
            store.tip()
        except BaseException:
            environment.close()
            raise
        return store

    def commit(self, batch: FinalizedBatch) -> None:
        """Store blocks that became final, durably and together.

        The first may have any height on an empty store (genesis, or a snapshot's block); all
        others follow the tip. Raises as `Environment.write`.
        """
        begun_s = time.perf_counter()
        self._environment.write(lambda writer: _commit(writer, batch, self._keep_blocks))
        self._commits += 1
        self._commit_s += time.perf_counter() - begun_s

    def snapshot(self) -> Snapshot:
        """A consistent view as of now."""
        return Snapshot(self._environment.read())

    def tip(self) -> Tip | None:
        with self.snapshot() as snapshot:
            return snapshot.tip()

    def read_state(self, key: bytes) -> bytes | None:
        with self._environment.read() as reader:
            return reader.get(STATE, key)

    def state_items(self, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """As `Snapshot.state_items`; the snapshot stays open until the iterator is exhausted."""
        with self.snapshot() as snapshot:
            yield from snapshot.state_items(prefix)

    def read_node(self, node_id: bytes) -> bytes | None:
        with self._environment.read() as reader:
            return reader.get(NODES, node_id)

    def read_roots(self, height: int) -> Roots | None:
        with self.snapshot() as snapshot:
            return snapshot.read_roots(height)

    def read_block(self, height: int) -> bytes | None:
        with self.snapshot() as snapshot:
            return snapshot.read_block(height)

    def read_certificate(self, height: int) -> bytes | None:
        with self.snapshot() as snapshot:
            return snapshot.read_certificate(height)

    def read_outcome(self, height: int) -> bytes | None:
        with self.snapshot() as snapshot:
            return snapshot.read_outcome(height)

    def find_block(self, block_hash: bytes) -> Height | None:
        with self.snapshot() as snapshot:
            return snapshot.find_block(block_hash)

    def find_transaction(self, transaction: bytes) -> Place | None:
        with self.snapshot() as snapshot:
            return snapshot.find_transaction(transaction)

    def read_blocks(
        self, first: int, count_max: int, bytes_max: int
    ) -> list[tuple[Height, bytes, bytes | None]]:
        """(height, block, certificate or None) from `first`: at most `count_max` of them, and of
        `bytes_max` bytes together unless the first alone is larger."""
        found: list[tuple[Height, bytes, bytes | None]] = []
        with self.snapshot() as snapshot:
            for height, block, certificate in snapshot.blocks(first):
                bytes_max -= len(block) + len(certificate or b"")
                if len(found) == count_max or (found and bytes_max < 0):
                    break
                found.append((height, block, certificate))
        return found

    def figures(self) -> StoreFigures:
        """Sizes as of now; no table is walked for them."""
        with self._environment.read() as reader:
            return StoreFigures(
                state_entries=reader.count(STATE),
                trie_nodes=reader.count(NODES),
                file_bytes=self._environment.file_bytes(),
                commits=self._commits,
                commit_s=self._commit_s,
            )

    def page_bytes(self) -> dict[str, int]:
        """Bytes of the pages that each table fills; pages that wait to be used again are not in."""
        with self._environment.read() as reader:
            return {table: reader.page_bytes(table) for table in TABLES}

    def sync(self) -> None:
        """Flush, where the store was opened with sync=False."""
        self._environment.sync()

    def close(self) -> None:
        self._environment.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _commit(writer: Writer, batch: FinalizedBatch, keep_blocks: int | None) -> None:
    invariant(len(batch.blocks) > 0, "a batch holds at least one block")
    tip = read_tip(writer)
    before = None if tip is None else tip.height
    for record in batch.blocks:
        invariant(before in (None, record.height - 1), "blocks follow the tip one by one")
        _put_block(writer, record)
        before = record.height
    _put_state(writer, batch.blocks)
    _put_nodes(writer, batch)
    last = batch.blocks[-1]
    next_id = max(batch.next_id, 0 if tip is None else tip.next_id)
    tip = Tip(last.height, last.block_hash, last.roots, next_id)
    writer.put(META, TIP, schema.encode(tip))
    if keep_blocks is not None:
        prune(writer, keep_blocks, last.height)


def _put_block(writer: Writer, record: BlockRecord) -> None:
    key = height_key(record.height)
    writer.append(BLOCKS, key, record.block)
    writer.append(OUTCOMES, key, record.outcome)
    writer.append(ROOTS, key, schema.encode(record.roots))
    writer.append(STALE, key, b"".join(sorted(record.stale)))
    if record.certificate is not None:
        writer.append(CERTIFICATES, key, record.certificate)
    writer.put(HEIGHTS, record.block_hash, key)
    for index, transaction in enumerate(record.transactions):
        writer.put(TRANSACTIONS, transaction, key + index.to_bytes(4, "big"))


def _put_state(writer: Writer, blocks: Sequence[BlockRecord]) -> None:
    latest: dict[bytes, bytes | None] = {}
    for record in blocks:
        latest.update(record.state)
    for key in sorted(latest):
        value = latest[key]
        if value is None:
            writer.delete(STATE, key)
        else:
            writer.put(STATE, key, value)


def _put_nodes(writer: Writer, batch: FinalizedBatch) -> None:
    nodes = sorted(pair for record in batch.blocks for pair in record.nodes.items())
    if nodes:
        last_id = int.from_bytes(nodes[-1][0], "big")
        invariant(last_id < batch.next_id, "the next append id lies past every node")
    writer.put_ascending(NODES, nodes)
