"""What the number of accounts costs a block: 1e5 of them up to `--largest`, tenfold each time.

Real account records in the real store with fsync. A block is 5,000 updates of random accounts, a
tenth of them deletes; the accounts came as well in blocks of 5,000, so the file has the gaps of one
that has been in use. Sizes are of a store that keeps no past. Two kinds of node then go on from
there: one that keeps the least it may, 64 blocks, and prunes what is older, and an archive.
`pruned_` and `archive_bytes_per_block` are by how much the pages in use grow with a block, without
the block itself: for the archive by its new trie nodes, else as pages happen to fill.
"""

import random
import tempfile
from pathlib import Path
from typing import Final

from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import invariant
from p2p_aios.ledger.records import Account
from p2p_aios.ledger.tables import ACCOUNTS, account_key
from p2p_aios.node.config import KEEP_BLOCKS_MIN
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.pruning import PRUNE_ROUND_LISTS_MAX
from p2p_aios.units import AIOS, Amount
from testnet.bench.growth import growth_figures, sizes_up_to
from testnet.bench.population import (
    Population,
    commit_block,
    measure_reads,
    measure_updates,
    settle,
)

NAME: Final = "state"

SMALLEST: Final = 100_000
LARGEST: Final = 1_000_000
"""Three minutes; ten times as many accounts take half an hour or more, and 10 GB of disk."""
BATCH: Final = 5_000
BATCHES: Final = PRUNE_ROUND_LISTS_MAX
"""So that each works at another part of what a round prunes."""
BALANCE_MAX: Final = 1_000 * AIOS
NONCE_MAX: Final = 1_000
SEED: Final = 7


def measure(largest: int = LARGEST) -> tuple[dict[str, float], dict[str, float]]:
    """(figures, peers): medians over blocks, at each number of accounts."""
    sizes = sizes_up_to(largest, SMALLEST, 10)
    return growth_figures({size: _measure(size) for size in sizes}), {}


def account_population(accounts: int, seed: int) -> Population:
    """Accounts with any balance and nonce."""
    return Population(accounts, random.Random(seed), _key, _value)


def _measure(accounts: int) -> dict[str, float]:
    population = account_population(accounts, SEED)
    batch = min(BATCH, accounts)
    with tempfile.TemporaryDirectory(prefix="aios-bench-state-") as folder:
        with _open(folder, keep_blocks=0) as store:
            figures = {"build_s": population.build(store, batch)}
            figures["file_bytes_per_account"] = store.figures().file_bytes / accounts
            figures["used_bytes_per_account"] = _used_bytes(store) / accounts
        with _open(folder, keep_blocks=KEEP_BLOCKS_MIN) as store:
            settle(store, population, batch, KEEP_BLOCKS_MIN)
            begun = _used_bytes(store), _next_id(store)
            figures |= measure_updates(store, population, batch, BATCHES)
            figures["pruned_bytes_per_block"] = (_used_bytes(store) - begun[0]) / BATCHES
            figures["hashes_per_update"] = (_next_id(store) - begun[1]) / (batch * BATCHES)
            figures |= measure_reads(store, population, batch, BATCHES)
        with _open(folder, keep_blocks=None) as store:
            used = _used_bytes(store)
            for _ in range(BATCHES):
                commit_block(store, population.draw(batch))
            figures["archive_bytes_per_block"] = (_used_bytes(store) - used) / BATCHES
    return figures


def _used_bytes(store: ChainStore) -> int:
    return sum(store.page_bytes().values())


def _next_id(store: ChainStore) -> int:
    tip = store.tip()
    invariant(tip is not None, "the accounts are built")
    assert tip is not None
    return tip.next_id


def _open(folder: str, keep_blocks: int | None) -> ChainStore:
    return ChainStore.open(Path(folder), sha256(b"aios bench state"), keep_blocks=keep_blocks)


def _key(number: int) -> bytes:
    return account_key(sha256(number.to_bytes(8, "big"))[:20])


def _value(rng: random.Random) -> bytes:
    balance = Amount(rng.randrange(BALANCE_MAX))
    return ACCOUNTS.encode(Account(balance, rng.randrange(NONCE_MAX)))
