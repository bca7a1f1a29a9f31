"""The state trie on a real LMDB with fsync, beside py-trie.

Keys are sha256 paths with values of 60 bytes. Each measured batch is one block's worth: it updates
random keys, a tenth of them deletes, and is committed with its flat state, new nodes, stale list
and the pruning of its predecessor's. Figures are medians over batches.
"""

import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import invariant
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.records import BlockRecord, FinalizedBatch, Roots
from p2p_aios.trie.bulk import update
from p2p_aios.trie.codec import STATE_CODEC, state_path
from p2p_aios.trie.nodes import root_hash
from p2p_aios.trie.proof import Proof, prove, verify_proof
from p2p_aios.units import Height

NAME: Final = "trie"

KEYS: Final = 1_000_000
BATCH: Final = 5_000
BATCHES: Final = 9
BUILD_BATCH: Final = 50_000
PEER_KEYS: Final = 20_000
"""py-trie is measured on fewer keys, which favours it: its paths are shorter."""
PEER_BATCH: Final = 1_000
VALUE_BYTES: Final = 60
SEED: Final = 7

S = TypeVar("S")
T = TypeVar("T")
Writes = dict[bytes, bytes | None]


def measure(
    keys: int = KEYS, batch: int = BATCH, batches: int = BATCHES
) -> tuple[dict[str, float], dict[str, float]]:
    """(figures, peers): `keys` in the trie, `batches` batches of `batch` updates measured."""
    rng = random.Random(SEED)
    names = [n.to_bytes(8, "big") for n in range(keys)]
    with tempfile.TemporaryDirectory(prefix="aios-bench-trie-") as folder:
        chain_id = sha256(b"aios bench trie")
        with ChainStore.open(Path(folder), chain_id, keep_blocks=0) as store:
            start = time.perf_counter()
            for low in range(0, keys, BUILD_BATCH):
                _commit(store, {k: rng.randbytes(VALUE_BYTES) for k in names[low:][:BUILD_BATCH]})
            figures = {"keys": float(keys), "build_s": time.perf_counter() - start}
            figures |= _updates(store, rng, names, batch, batches)
            figures |= _reads(store, rng, names, batch, batches)
    return figures, _py_trie()


def _commit(store: ChainStore, writes: Writes) -> tuple[float, float]:
    """Seconds for the trie, seconds for the commit."""
    tip = store.tip()
    height, root, next_id = (
        (0, None, 1) if tip is None else (tip.height + 1, tip.roots.state, tip.next_id)
    )
    start = time.perf_counter()
    with store.snapshot() as snapshot:
        hashed = {state_path(key): value for key, value in writes.items()}
        change = update(STATE_CODEC, snapshot.read_node, root, hashed, next_id)
    trie_s = time.perf_counter() - start
    record = BlockRecord(
        height=Height(height),
        block_hash=sha256(height.to_bytes(8, "big")),
        block=b"",
        certificate=None,
        outcome=b"",
        transactions=(),
        state=writes,
        nodes=change.nodes,
        stale=change.stale,
        roots=Roots(change.root, None),
    )
    start = time.perf_counter()
    store.commit(FinalizedBatch([record], change.next_id))
    return trie_s, time.perf_counter() - start


def _updates(
    store: ChainStore, rng: random.Random, names: list[bytes], batch: int, batches: int
) -> dict[str, float]:
    trie_s, commit_s = [], []
    for _ in range(batches):
        chosen = rng.sample(names, batch)
        writes: Writes = {key: rng.randbytes(VALUE_BYTES) for key in chosen}
        writes |= dict.fromkeys(chosen[: batch // 10])
        trie, commit = _commit(store, writes)
        trie_s.append(trie)
        commit_s.append(commit)
    both = [trie + commit for trie, commit in zip(trie_s, commit_s, strict=True)]
    return {
        "updates_per_s": batch / statistics.median(trie_s),
        "durable_updates_per_s": batch / statistics.median(both),
        "write_and_fsync_ms": 1000 * statistics.median(commit_s),
    }


def _reads(
    store: ChainStore, rng: random.Random, names: list[bytes], batch: int, batches: int
) -> dict[str, float]:
    samples = [rng.sample(names, batch) for _ in range(batches)]
    with store.snapshot() as snapshot:
        tip = snapshot.tip()
        root = None if tip is None else tip.roots.state
        expected = root_hash(STATE_CODEC, root)

        def read(key: bytes) -> bytes | None:
            return snapshot.read_state(key)

        def make(key: bytes) -> tuple[bytes, Proof]:
            path = state_path(key)
            return path, prove(STATE_CODEC, snapshot.read_node, root, path)

        def check(made: tuple[bytes, Proof]) -> bytes | None:
            return verify_proof(STATE_CODEC, expected, *made)

        values, read_s = _each(read, samples)
        proofs, make_s = _each(make, samples)
        proven, check_s = _each(check, proofs)
        invariant(proven == values, "trie and flat state agree")
    return {
        "proofs_per_s": batch / make_s,
        "proof_checks_per_s": batch / check_s,
        "flat_reads_per_s": batch / read_s,
    }


def _each(work: Callable[[S], T], samples: list[list[S]]) -> tuple[list[list[T]], float]:
    """`work` of every item, and the median seconds of a sample."""
    results, seconds = [], []
    for sample in samples:
        start = time.perf_counter()
        results.append([work(item) for item in sample])
        seconds.append(time.perf_counter() - start)
    return results, statistics.median(seconds)


def _py_trie() -> dict[str, float]:
    """py-trie's HexaryTrie, in memory, batched as its documentation recommends; {} if absent."""
    try:
        from trie import HexaryTrie
    except ImportError:
        return {}
    rng = random.Random(SEED)
    peer = HexaryTrie({}, prune=True)
    names = [state_path(n.to_bytes(8, "big")) for n in range(PEER_KEYS)]
    with peer.squash_changes() as changes:
        for name in names:
            changes[name] = rng.randbytes(VALUE_BYTES)
    seconds = []
    for _ in range(3):
        chosen = rng.sample(names, PEER_BATCH)
        start = time.perf_counter()
        with peer.squash_changes() as changes:
            for index, name in enumerate(chosen):
                if index % 10:
                    changes[name] = rng.randbytes(VALUE_BYTES)
                elif changes.exists(name):
                    del changes[name]
        seconds.append(time.perf_counter() - start)
    return {
        "py_trie_keys": float(PEER_KEYS),
        "py_trie_updates_per_s": PEER_BATCH / statistics.median(seconds),
    }
