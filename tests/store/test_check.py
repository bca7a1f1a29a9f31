"""Checking a chain store: what is whole passes, and every kind of damage is found and named."""

import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import trio

from p2p_aios.codec import schema
from p2p_aios.store.chain import KIND, VERSION, ChainStore
from p2p_aios.store.check import PROBLEMS_MAX, CheckReport, check_chain
from p2p_aios.store.lmdb import DATA_FILE, open_environment
from p2p_aios.store.records import Roots
from p2p_aios.store.snapshot import (
    BLOCKS,
    HEIGHTS,
    META,
    NODES,
    OUTCOMES,
    ROOTS,
    STALE,
    STATE,
    TABLES,
    TIP,
    height_key,
)
from p2p_aios.store.transaction import Writer
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import Amount
from tests.node.founders import ALICE, BOB, Founders

PAGE = 4096
PROGRAM = """
import sys; from pathlib import Path
from p2p_aios.errors import Corrupt
from p2p_aios.store.chain import KIND, VERSION, ChainStore
from p2p_aios.store.check import check_chain
from p2p_aios.store.lmdb import open_environment
from p2p_aios.store.snapshot import TABLES
try:
    with open_environment(Path(sys.argv[1]), KIND, VERSION, TABLES) as environment:
        check_chain(ChainStore(environment, None))
except Corrupt: pass
"""
FOUNDERS = Founders(1)
HEIGHT = 20


async def grow(folder: Path, keep_blocks: int | None = None) -> None:
    """A real chain: transfers, epochs, pruning where it is asked for."""
    options = {} if keep_blocks is None else {"keep_blocks": keep_blocks}
    async with FOUNDERS.open_chain(folder, **options) as chain:
        for _ in range(HEIGHT):
            transfer = FOUNDERS.transaction(chain, ALICE, Transfer(BOB.address, Amount(1)))
            await FOUNDERS.extend(chain, transfer)


def check(folder: Path) -> CheckReport:
    with ChainStore.open(folder, FOUNDERS.chain_id) as store:
        return check_chain(store)


def damage(folder: Path, change: Callable[[Writer], object]) -> None:
    with open_environment(folder, KIND, VERSION, TABLES) as environment:
        environment.write(change)


@pytest.mark.parametrize("keep_blocks", [None, 0, 5, 8])
async def test_a_whole_chain_passes(tmp_path: Path, keep_blocks: int | None) -> None:
    await grow(tmp_path, keep_blocks)
    told: list[tuple[str, int, int]] = []
    with ChainStore.open(tmp_path, FOUNDERS.chain_id) as store:
        report = check_chain(store, lambda *step: told.append(step))
        entries = len(list(store.state_items()))
        with store.snapshot() as snapshot:
            nodes = len(list(snapshot.node_ids()))
    assert report.problems == ()
    assert (report.height, report.blocks, report.state_entries) == (HEIGHT, HEIGHT + 1, entries)
    assert report.trie_nodes + report.older_nodes == nodes
    assert (report.older_nodes == 0) == (keep_blocks == 0)
    assert {phase for phase, _, _ in told} == {"blocks", "trie", "flat table"}


def test_an_empty_store_passes(tmp_path: Path) -> None:
    report = check(tmp_path)
    assert (report.height, report.problems) == (-1, ())


def test_tries_with_sums_are_walked_too(growth: ModuleType, tmp_path: Path) -> None:
    """Of a chain whose blocks are no blocks: nothing else is wrong with it."""
    world = growth.Growth(5)
    with ChainStore.open(tmp_path, growth.CHAIN_ID, keep_blocks=3) as store:
        for _ in range(10):
            store.commit(world.batch(store, 1))
        report = check_chain(store)
        assert len(report.problems) == 9
        assert all("is damaged" in problem for problem in report.problems)
        assert report.trie_nodes > 0


def first(writer: Writer, table: str, last: bool = False) -> tuple[bytes, bytes]:
    pair = writer.last(table) if last else next(iter(writer.items(table)))
    assert pair is not None
    return pair


def flip(writer: Writer, table: str, key: bytes | None = None) -> None:
    if key is None:
        key, value = first(writer, table)
    else:
        value = writer.get(table, key) or b""
    writer.put(table, key, value[:-1] + bytes((value[-1] ^ 1,)))


def drop(writer: Writer, table: str, key: bytes | None = None) -> None:
    assert writer.delete(table, first(writer, table)[0] if key is None else key)


def swap_roots(writer: Writer) -> None:
    roots = writer.get(ROOTS, height_key(7)) or b""
    writer.put(ROOTS, height_key(6), roots)


def copy_block(writer: Writer) -> None:
    writer.put(BLOCKS, height_key(9), writer.get(BLOCKS, height_key(8)) or b"")


def copy_receipts(writer: Writer) -> None:
    genesis = writer.get(OUTCOMES, height_key(0)) or b""
    writer.put(OUTCOMES, height_key(5), genesis)


def empty_roots(writer: Writer) -> None:
    writer.put(ROOTS, height_key(HEIGHT), schema.encode(Roots(None, None)))


DAMAGES: dict[str, tuple[Callable[[Writer], object], str]] = {
    "flat value": (lambda w: flip(w, STATE), "the state trie has another value for "),
    "flat key gone": (lambda w: drop(w, STATE), "keys, the state trie "),
    "flat key more": (lambda w: w.put(STATE, b"zz", b"1"), "the state trie lacks 7a7a"),
    "tip's node": (lambda w: flip(w, NODES, first(w, NODES, True)[0]), "is not what it was"),
    "tip's node gone": (lambda w: drop(w, NODES, first(w, NODES, True)[0]), "no trie node "),
    "old node gone": (lambda w: drop(w, NODES, first(w, STALE, True)[1][:8]), "is missing"),
    "node more": (lambda w: w.put(NODES, b"\xff" * 8, b"x"), "1 trie nodes too many"),
    "stale list gone": (lambda w: drop(w, STALE, height_key(9)), "trie nodes too many"),
    "transaction": (lambda w: flip(w, BLOCKS, height_key(9)), "transactions of block 9"),
    "block": (lambda w: w.put(BLOCKS, height_key(9), b"9"), "block 9 is damaged"),
    "other block": (copy_block, "block 9 is not the one"),
    "block gone": (lambda w: drop(w, BLOCKS, height_key(9)), "blocks 9 to 9 are missing"),
    "last block gone": (lambda w: drop(w, BLOCKS, height_key(HEIGHT)), "not the last block"),
    "index": (lambda w: drop(w, HEIGHTS), "under its hash"),
    "receipts": (lambda w: drop(w, OUTCOMES, height_key(4)), "the receipts of block 4 are missing"),
    "other receipts": (copy_receipts, "the receipts of block 5 are not those"),
    "no receipts": (lambda w: w.put(OUTCOMES, height_key(5), b"\x80"), "block 5 are damaged"),
    "roots": (swap_roots, "the roots kept for block 6 are not those in its header"),
    "tip's roots": (empty_roots, "the tip's roots are not those kept"),
    "tip": (lambda w: w.put(META, TIP, b"\x80"), "a Tip record is damaged"),
    "no tip": (lambda w: drop(w, META, TIP), "no tip, but "),
}


@pytest.mark.parametrize("name", DAMAGES)
async def test_damage_is_found_and_named(tmp_path: Path, name: str) -> None:
    change, expected = DAMAGES[name]
    await grow(tmp_path)
    damage(tmp_path, change)
    with open_environment(tmp_path, KIND, VERSION, TABLES) as environment:
        problems = check_chain(ChainStore(environment, None)).problems
    assert any(expected in problem for problem in problems), problems
    assert len(problems) <= PROBLEMS_MAX


async def test_damaged_pages_are_told_as_damage(tmp_path: Path) -> None:
    """In processes of their own, for what a damaged page makes LMDB do is not ours to promise."""
    await grow(tmp_path / "whole")
    data = (tmp_path / "whole" / DATA_FILE).read_bytes()
    dice = random.Random("damaged pages")
    for _ in range(12):
        damaged = bytearray(data)
        # In a page's header and the pointers behind it: where LMDB itself goes astray.
        damaged[dice.randrange(2, len(data) // PAGE) * PAGE + dice.randrange(40)] ^= 0x21
        folder = tmp_path / "damaged"
        folder.mkdir(exist_ok=True)
        (folder / DATA_FILE).write_bytes(damaged)
        done = await trio.run_process(
            [sys.executable, "-c", PROGRAM, str(folder)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()


async def test_problems_told_are_bounded(tmp_path: Path) -> None:
    await grow(tmp_path)
    damage(tmp_path, lambda w: [drop(w, OUTCOMES) for _ in range(HEIGHT + 1)])
    damage(tmp_path, lambda w: [w.put(STATE, b"z%d" % each, b"1") for each in range(50)])
    assert len(check(tmp_path).problems) == PROBLEMS_MAX
