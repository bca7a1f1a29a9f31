"""The state trie on a real LMDB with fsync, beside py-trie.

Keys are sha256 paths with values of 60 bytes. Each measured batch is one block's worth: it updates
random keys, a tenth of them deletes, and is committed with its flat state, new nodes, stale list
and its share of the pruning, 64 blocks behind. Figures are medians over batches.
"""

import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Final

from p2p_aios.crypto.hashing import sha256
from p2p_aios.node.config import KEEP_BLOCKS_MIN
from p2p_aios.store.chain import ChainStore
from p2p_aios.trie.codec import state_path
from testnet.bench.population import Population, measure_reads, measure_updates, settle

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


def measure(
    keys: int = KEYS, batch: int = BATCH, batches: int = BATCHES
) -> tuple[dict[str, float], dict[str, float]]:
    """(figures, peers): `keys` in the trie, `batches` batches of `batch` updates measured."""
    population = Population(
        keys,
        random.Random(SEED),
        key=lambda number: number.to_bytes(8, "big"),
        value=lambda rng: rng.randbytes(VALUE_BYTES),
    )
    with tempfile.TemporaryDirectory(prefix="aios-bench-trie-") as folder:
        with _open(folder, keep_blocks=0) as store:
            figures = {"keys": float(keys), "build_s": population.build(store, BUILD_BATCH)}
        with _open(folder, keep_blocks=KEEP_BLOCKS_MIN) as store:
            settle(store, population, batch, KEEP_BLOCKS_MIN)
            figures |= measure_updates(store, population, batch, batches)
            figures |= measure_reads(store, population, batch, batches)
    return figures, _py_trie()


def _open(folder: str, keep_blocks: int) -> ChainStore:
    return ChainStore.open(Path(folder), sha256(b"aios bench trie"), keep_blocks=keep_blocks)


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
