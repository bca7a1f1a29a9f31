"""A chain whose every block follows from a seed, and a process that commits it until it is killed.

Run as a program: `growth.py FOLDER SEED` commits batches for ever and prints each height after it
is durable.
"""

import hashlib
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import cbor2

from p2p_aios.store.chain import ChainStore
from p2p_aios.store.records import BlockRecord, FinalizedBatch, Roots
from p2p_aios.trie.bulk import update
from p2p_aios.trie.codec import PASH_CODEC, STATE_CODEC, state_path
from p2p_aios.trie.lookup import items, walk
from p2p_aios.units import Hash, Height

CHAIN_ID = Hash(hashlib.sha256(b"growing chain").digest())
KEEP_BLOCKS = 5

Writes = dict[bytes, bytes | None]


class Growth:
    """Blocks as functions of (seed, height)."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def state_writes(self, height: int) -> Writes:
        rng = random.Random(f"state {self.seed} {height}")
        keys = [b"a/%d" % rng.randrange(400) for _ in range(30)]
        return {key: None if rng.random() < 0.2 else rng.randbytes(40) for key in keys}

    def pash_writes(self, height: int) -> Writes:
        rng = random.Random(f"pash {self.seed} {height}")
        keys = [b"%d" % rng.randrange(50) for _ in range(rng.randrange(4))]
        return {key: cbor2.dumps([rng.randrange(2**60), rng.randrange(2**60)]) for key in keys}

    def block_hash(self, height: int) -> Hash:
        return Hash(hashlib.sha256(b"block %d %d" % (self.seed, height)).digest())

    def transactions(self, height: int) -> list[Hash]:
        names = [b"transaction %d %d %d" % (self.seed, height, index) for index in range(3)]
        return [Hash(hashlib.sha256(name).digest()) for name in names]

    def replay(self, height: int) -> tuple[dict[bytes, bytes], dict[bytes, bytes]]:
        """State and contributions after block `height`."""
        state: dict[bytes, bytes] = {}
        pash: dict[bytes, bytes] = {}
        for each in range(height + 1):
            for content, writes in (
                (state, self.state_writes(each)),
                (pash, self.pash_writes(each)),
            ):
                for key, value in writes.items():
                    content.pop(key, None)
                    if value is not None:
                        content[key] = value
        return state, pash

    def batch(self, store: ChainStore, count: int) -> FinalizedBatch:
        """The next `count` blocks, executed in overlays: each reads its ancestors' nodes first."""
        tip = store.tip()
        first, next_id, roots = 0, 1, Roots(None, None)
        if tip is not None:
            first, next_id, roots = tip.height + 1, tip.next_id, tip.roots
        overlay: dict[bytes, bytes] = {}

        def read(node_id: bytes) -> bytes | None:
            return overlay.get(node_id) or store.read_node(node_id)

        records = []
        for height in range(first, first + count):
            writes = self.state_writes(height)
            hashed = {state_path(key): value for key, value in writes.items()}
            state = update(STATE_CODEC, read, roots.state, hashed, next_id)
            hashed = {state_path(k): value for k, value in self.pash_writes(height).items()}
            pash = update(PASH_CODEC, read, roots.pash, hashed, state.next_id)
            roots = Roots(state.root, pash.root)
            next_id = pash.next_id + 7  # as a dropped sibling leaves
            nodes = {**state.nodes, **pash.nodes}
            overlay.update(nodes)
            records.append(
                BlockRecord(
                    height=Height(height),
                    block_hash=self.block_hash(height),
                    block=b"block %d" % height,
                    certificate=b"certificate %d" % height if height % 3 == 0 else None,
                    outcome=b"outcome %d" % height,
                    transactions=self.transactions(height),
                    state=writes,
                    nodes=nodes,
                    stale=[*state.stale, *pash.stale],
                    roots=roots,
                )
            )
        return FinalizedBatch(records, next_id)

    def check(self, store: ChainStore, kept: int | None) -> int:
        """Everything on disk is as it must be after the tip; the tip's height, or -1."""
        with store.snapshot() as snapshot:
            tip = snapshot.tip()
            if tip is None:
                return -1
            state, pash = self.replay(tip.height)
            assert dict(snapshot.state_items()) == state
            read, last = snapshot.read_node, tip.height
            found = dict(items(STATE_CODEC, read, tip.roots.state))
            assert found == {state_path(key): value for key, value in state.items()}
            found = dict(items(PASH_CODEC, read, tip.roots.pash))
            assert found == {state_path(key): value for key, value in pash.items()}
            for height in range(last + 1):
                assert snapshot.read_block(height) == b"block %d" % height
                assert snapshot.read_outcome(height) == b"outcome %d" % height
                assert snapshot.find_block(self.block_hash(height)) == height
                for index, transaction in enumerate(self.transactions(height)):
                    place = snapshot.find_transaction(transaction)
                    assert place is not None
                    assert (place.height, place.index) == (height, index)
            assert snapshot.read_block(last + 1) is None
            oldest = 0 if kept is None else max(0, last - kept)
            found_ids: set[bytes] = set()
            for height in range(last + 1):
                roots = snapshot.read_roots(height)
                assert (roots is not None) == (height >= oldest)
                if roots is not None:
                    found_ids.update(reached(STATE_CODEC, read, roots.state))
                    found_ids.update(reached(PASH_CODEC, read, roots.pash))
            assert found_ids == set(snapshot.node_ids())
            assert all(int.from_bytes(each, "big") < tip.next_id for each in found_ids)
        return last


def reached(codec, read, root) -> Iterator[bytes]:
    return (node_id for _, _, node_id in walk(codec, read, root, checked=True))


def main() -> None:
    folder, seed = Path(sys.argv[1]), int(sys.argv[2])
    growth = Growth(seed)
    with ChainStore.open(folder, CHAIN_ID, keep_blocks=KEEP_BLOCKS, map_bytes=1 << 18) as store:
        while True:
            batch = growth.batch(store, random.randint(1, 3))
            store.commit(batch)
            print(batch.blocks[-1].height, flush=True)


if __name__ == "__main__":
    main()
