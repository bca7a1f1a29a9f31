"""Keys with values in the state trie and the flat table of a real store: built, updated, read.

The keys are numbered; what key and value of a number are, its user says. Every measured batch is
one block's worth: random keys, a tenth of them deletes, committed with fsync.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import invariant
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.pruning import PRUNE_ROUND_LISTS_MAX
from p2p_aios.store.records import BlockRecord, FinalizedBatch, Roots
from p2p_aios.trie.bulk import update
from p2p_aios.trie.codec import STATE_CODEC, state_path
from p2p_aios.trie.nodes import root_hash
from p2p_aios.trie.proof import Proof, prove, verify_proof
from p2p_aios.units import Height

S = TypeVar("S")
T = TypeVar("T")
Writes = dict[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Population:
    """`count` keys, of which a measured batch takes some at random."""

    count: int
    rng: random.Random
    key: Callable[[int], bytes]
    value: Callable[[random.Random], bytes]

    def build(self, store: ChainStore, batch: int) -> float:
        """Seconds to bring them all into an empty store, `batch` in a block."""
        begun = time.perf_counter()
        for low in range(0, self.count, batch):
            numbers = range(low, min(low + batch, self.count))
            commit_block(store, {self.key(n): self.value(self.rng) for n in numbers})
        return time.perf_counter() - begun

    def draw(self, batch: int) -> Writes:
        """New values for `batch` keys; a tenth of them go."""
        chosen = self.keys(batch)
        writes: Writes = {key: self.value(self.rng) for key in chosen}
        return writes | dict.fromkeys(chosen[: batch // 10])

    def keys(self, batch: int) -> list[bytes]:
        return [self.key(n) for n in self.rng.sample(range(self.count), batch)]


def commit_block(store: ChainStore, writes: Writes) -> tuple[float, float]:
    """One more block that does nothing else: seconds for the trie, seconds for the commit."""
    begun = time.perf_counter()
    batch = next_block(store, writes)
    trie_s = time.perf_counter() - begun
    begun = time.perf_counter()
    store.commit(batch)
    return trie_s, time.perf_counter() - begun


def next_block(store: ChainStore, writes: Writes) -> FinalizedBatch:
    """What a block leaves that changes the state and holds nothing else."""
    tip = store.tip()
    height, root, next_id = (
        (0, None, 1) if tip is None else (tip.height + 1, tip.roots.state, tip.next_id)
    )
    with store.snapshot() as snapshot:
        hashed = {state_path(key): value for key, value in writes.items()}
        change = update(STATE_CODEC, snapshot.read_node, root, hashed, next_id)
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
    return FinalizedBatch([record], change.next_id)


def settle(store: ChainStore, population: Population, batch: int, keep_blocks: int) -> None:
    """Live through as many blocks as it takes until each prunes what an earlier one left."""
    for _ in range(keep_blocks + PRUNE_ROUND_LISTS_MAX):
        commit_block(store, population.draw(batch))


def measure_updates(
    store: ChainStore, population: Population, batch: int, batches: int
) -> dict[str, float]:
    """Medians over batches."""
    trie_s, commit_s = [], []
    for _ in range(batches):
        trie, commit = commit_block(store, population.draw(batch))
        trie_s.append(trie)
        commit_s.append(commit)
    both = [trie + commit for trie, commit in zip(trie_s, commit_s, strict=True)]
    return {
        "updates_per_s": batch / statistics.median(trie_s),
        "durable_updates_per_s": batch / statistics.median(both),
        "write_and_fsync_ms": 1000 * statistics.median(commit_s),
    }


def measure_reads(
    store: ChainStore, population: Population, batch: int, batches: int
) -> dict[str, float]:
    """Rates are medians over batches; a proof's size is the mean of all."""
    samples = [population.keys(batch) for _ in range(batches)]
    with store.snapshot() as snapshot:
        tip = snapshot.tip()
        root = None if tip is None else tip.roots.state
        expected = root_hash(STATE_CODEC, root)

        def make(key: bytes) -> tuple[bytes, Proof]:
            path = state_path(key)
            return path, prove(STATE_CODEC, snapshot.read_node, root, path)

        def check(made: tuple[bytes, Proof]) -> bytes | None:
            return verify_proof(STATE_CODEC, expected, *made)

        values, read_s = _each(snapshot.read_state, samples)
        made, make_s = _each(make, samples)
        proven, check_s = _each(check, made)
    invariant(proven == values, "trie and flat state agree")
    proofs = [proof for sample in made for _, proof in sample]
    return {
        "proofs_per_s": batch / make_s,
        "proof_checks_per_s": batch / check_s,
        "flat_reads_per_s": batch / read_s,
        "proof_nodes": statistics.fmean(map(len, proofs)),
        "proof_bytes": statistics.fmean(sum(map(len, proof)) for proof in proofs),
    }


def _each(work: Callable[[S], T], samples: Iterable[list[S]]) -> tuple[list[list[T]], float]:
    """`work` of every item, and the median seconds of a sample."""
    results, seconds = [], []
    for sample in samples:
        begun = time.perf_counter()
        results.append([work(item) for item in sample])
        seconds.append(time.perf_counter() - begun)
    return results, statistics.median(seconds)
