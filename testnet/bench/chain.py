"""What the length of the chain costs a block: 1e4 blocks up to `--largest`, tenfold each time.

The real store, with blocks of 20 transfers between 100,000 accounts and a finalization of three of
four seats. One such block was signed, executed on paper and encoded from the real types; the chain
repeats its bytes, which the store never reads, under new block and transaction ids. Most of the
chain is written many blocks to a transaction, without fsync, and leaves the state alone. At each
size single blocks that also update their 40 accounts' records are then committed with fsync: by a
node that prunes at once, and by an archive. `core_ms` is what of a commit is the processor's.
"""

import random
import tempfile
import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Final

from p2p_aios.codec import schema
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import invariant
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.pruning import PRUNE_LISTS_MAX
from p2p_aios.store.records import BlockRecord, FinalizedBatch, Tip
from p2p_aios.store.snapshot import HEIGHTS, NODES, STALE, STATE, TABLES, TRANSACTIONS
from p2p_aios.types.block import Block, Header, transactions_root
from p2p_aios.types.event import Transferred
from p2p_aios.types.receipt import SUCCESS, Receipt, encode_outcome
from p2p_aios.types.request import RANGE_BLOCKS_MAX
from p2p_aios.types.transaction import TransactionBody, Transfer, sign_transaction
from p2p_aios.types.vote import Ballot, Certificate, VoteKind, ballot_digest
from p2p_aios.units import AIOS, ZERO_HASH, Address, Amount, Epoch, Hash, Height, Millis, View
from testnet.bench.growth import growth_figures, sizes_up_to
from testnet.bench.population import Population, next_block
from testnet.bench.state import account_population
from testnet.quantiles import median

NAME: Final = "chain"

SMALLEST: Final = 10_000
LARGEST: Final = 100_000
"""A minute or two; ten times as many blocks take a quarter of an hour, and 10 GB of disk."""
ACCOUNTS: Final = 100_000
ACCOUNTS_BATCH: Final = 5_000
TRANSFERS: Final = 20
"""In one block."""
BULK: Final = PRUNE_LISTS_MAX
"""Blocks in one transaction while the chain is made: as many as pruning keeps up with."""
COMMITS: Final = 50
"""Single blocks measured of each kind of node."""
LOOKUPS: Final = 1_000
RANGES: Final = 20
"""Stretches of blocks read as for a peer that catches up."""
OF_STATE: Final = frozenset({STATE, NODES, STALE})
SIGNERS: Final = 3
"""Of four seats."""
CHAIN_ID: Final = sha256(b"aios bench chain")
SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Content:
    """Encoded, of a block that is like any other."""

    block: bytes
    outcome: bytes
    certificate: bytes


def measure(
    largest: int = LARGEST, accounts: int = ACCOUNTS
) -> tuple[dict[str, float], dict[str, float]]:
    """(figures, peers): medians, at each length of one growing chain."""
    content, population = make_content(), account_population(accounts, SEED)
    measured: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="aios-bench-chain-") as name:
        folder = Path(name)
        with _open(folder, 0) as store:
            population.build(store, min(ACCOUNTS_BATCH, accounts))
        for size in sizes_up_to(largest, SMALLEST, 10):
            with _open(folder, 0, sync=False) as store:
                _extend(store, content, size)
                store.sync()
            with _open(folder, 0) as store:
                figures = _commits(store, content, population) | _sizes(store)
                figures |= _lookups(store, population.rng)
            with _open(folder, None) as store:
                before = _bytes_of(store, OF_STATE)
                archive = _commits(store, content, population)
                archive["state_bytes_per_block"] = (_bytes_of(store, OF_STATE) - before) / COMMITS
            figures |= {f"archive_{name}": value for name, value in archive.items()}
            figures["open_ms"] = _open_ms(folder)
            measured[size] = figures
    return growth_figures(measured), {}


def make_content() -> Content:
    """Twenty signed transfers in a block, what became of them, and its finalization."""
    keys = [KeyPair.from_secret(n.to_bytes(32, "big")) for n in range(1, TRANSFERS + 1)]
    transfers = [
        sign_transaction(
            key,
            TransactionBody(
                chain_id=CHAIN_ID,
                sender=key.public_key,
                nonce=1_000,
                fee=Amount(50_000),
                expires=Height(1_000_000),
                action=Transfer(Address(sha256(key.address)[:20]), Amount(3 * AIOS)),
            ),
        )
        for key in keys
    ]
    receipts = [
        Receipt(
            each.id,
            SUCCESS,
            each.body.fee,
            (Transferred(each.sender, Address(sha256(each.sender)[:20]), Amount(3 * AIOS)),),
        )
        for each in transfers
    ]
    outcome = encode_outcome(receipts, ())
    raw = tuple(each.raw for each in transfers)
    header = Header(
        chain_id=CHAIN_ID,
        height=Height(500_000),
        epoch=Epoch(416),
        view=View(800),
        parent=sha256(b"parent"),
        timestamp_ms=Millis(1_700_000_000_000),
        proposer=keys[0].address,
        reveal=sha256(b"reveal"),
        tx_root=transactions_root(raw),
        receipts_root=outcome.root(),
        state_root=sha256(b"state"),
        pash_root=ZERO_HASH,
        committee_hash=sha256(b"committee"),
    )
    ballot = Ballot(VoteKind.FINALIZE, header.epoch, header.view, sha256(schema.encode(header)))
    digest = ballot_digest(CHAIN_ID, ballot)
    signatures = tuple(key.sign_digest(digest) for key in keys[:SIGNERS])
    certificate = Certificate(ballot, tuple(range(SIGNERS)), signatures)
    return Content(schema.encode(Block(header, raw)), outcome.encoded(), schema.encode(certificate))


def _open(folder: Path, keep_blocks: int | None, sync: bool = True) -> ChainStore:
    return ChainStore.open(folder, CHAIN_ID, keep_blocks=keep_blocks, sync=sync)


def _open_ms(folder: Path) -> float:
    begun = time.perf_counter()
    with _open(folder, None):
        return 1000 * (time.perf_counter() - begun)


def _tip(store: ChainStore) -> Tip:
    tip = store.tip()
    invariant(tip is not None, "the accounts are built")
    assert tip is not None
    return tip


def _block_hash(height: int) -> Hash:
    return sha256(height.to_bytes(8, "big"))


def _transaction(height: int, index: int) -> Hash:
    return sha256(height.to_bytes(8, "big") + index.to_bytes(4, "big"))


def _filled(record: BlockRecord, content: Content) -> BlockRecord:
    """The record with a block in it."""
    return replace(
        record,
        block=content.block,
        outcome=content.outcome,
        certificate=content.certificate,
        transactions=[_transaction(record.height, index) for index in range(TRANSFERS)],
    )


def _extend(store: ChainStore, content: Content, height: int) -> None:
    """Bring the chain to `height`."""
    tip = _tip(store)
    for low in range(tip.height + 1, height + 1, BULK):
        records = [
            _filled(_idle(Height(number), tip), content)
            for number in range(low, min(low + BULK, height + 1))
        ]
        store.commit(FinalizedBatch(records, tip.next_id))


def _idle(height: Height, tip: Tip) -> BlockRecord:
    """A block that leaves the state as it is."""
    return BlockRecord(height, _block_hash(height), b"", None, b"", (), {}, {}, (), tip.roots)


def _commits(store: ChainStore, content: Content, population: Population) -> dict[str, float]:
    """Medians of single blocks."""
    took_s, core_s = [], []
    for _ in range(COMMITS):
        keys = population.keys(2 * TRANSFERS)
        batch = next_block(store, {key: population.value(population.rng) for key in keys})
        batch = replace(batch, blocks=[_filled(batch.blocks[0], content)])
        begun, begun_core = time.perf_counter(), time.thread_time()
        store.commit(batch)
        took_s.append(time.perf_counter() - begun)
        core_s.append(time.thread_time() - begun_core)
    return {
        "commit_ms": 1000 * (median(took_s) or 0.0),
        "commit_core_ms": 1000 * (median(core_s) or 0.0),
    }


def _bytes_of(store: ChainStore, tables: AbstractSet[str]) -> int:
    pages = store.page_bytes()
    return sum(pages[table] for table in tables)


def _sizes(store: ChainStore) -> dict[str, float]:
    """Of a node that prunes: what its blocks take beside the state, and the file with all."""
    blocks = _tip(store).height
    return {
        "chain_bytes_per_block": _bytes_of(store, set(TABLES) - OF_STATE) / blocks,
        "index_bytes_per_block": _bytes_of(store, {HEIGHTS, TRANSACTIONS}) / blocks,
        "file_mb": store.figures().file_bytes / 2**20,
    }


def _lookups(store: ChainStore, rng: random.Random) -> dict[str, float]:
    top = _tip(store).height

    def find_block() -> bool:
        return store.find_block(_block_hash(rng.randint(top // 2, top))) is not None

    def find_transaction() -> bool:
        sought = _transaction(rng.randint(top // 2, top), rng.randrange(TRANSFERS))
        return store.find_transaction(sought) is not None

    def read_range() -> int:
        first = rng.randrange(top - RANGE_BLOCKS_MAX)
        with store.snapshot() as snapshot:
            return sum(1 for _ in islice(snapshot.blocks(first), RANGE_BLOCKS_MAX))

    return {
        "find_block_us": _each_us(find_block, LOOKUPS),
        "find_transaction_us": _each_us(find_transaction, LOOKUPS),
        "catch_up_blocks_per_s": 1e6 * RANGE_BLOCKS_MAX / _each_us(read_range, RANGES),
    }


def _each_us(work: Callable[[], int], times: int) -> float:
    """Median microseconds."""
    took_s = []
    for _ in range(times):
        begun = time.perf_counter()
        found = work()
        took_s.append(time.perf_counter() - begun)
        invariant(found > 0, "what was stored is found")
    return 1e6 * (median(took_s) or 0.0)
