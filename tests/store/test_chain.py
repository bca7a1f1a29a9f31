"""The finalized chain in its tables: commits, reads, pruning, and kill -9."""

import hashlib
import random
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from p2p_aios.errors import Corrupt, InvariantBroken
from p2p_aios.store import pruning
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.records import FinalizedBatch, Roots
from p2p_aios.store.snapshot import NODES
from p2p_aios.trie.codec import PASH_CODEC, STATE_CODEC
from p2p_aios.units import Hash


def open_store(growth: ModuleType, folder: Path, keep_blocks: int | None = None) -> ChainStore:
    return ChainStore.open(folder, growth.CHAIN_ID, keep_blocks=keep_blocks, sync=False)


def test_a_new_store_is_empty(growth: ModuleType, tmp_path: Path) -> None:
    with open_store(growth, tmp_path) as store:
        assert store.tip() is None
        assert store.read_block(0) is None
        assert store.read_state(b"a") is None
        assert list(store.state_items()) == []
        assert store.read_blocks(0, 10, 1000) == []


@pytest.mark.parametrize("keep_blocks", [None, 0, 1, 5])
def test_blocks_state_and_tries_agree(
    growth: ModuleType, tmp_path: Path, keep_blocks: int | None
) -> None:
    world, height = growth.Growth(1), -1
    for count in (1, 1, 3, 2, 5, 1, 4):
        with open_store(growth, tmp_path, keep_blocks) as store:
            store.commit(world.batch(store, count))
            height += count
            assert world.check(store, keep_blocks) == height


def test_reads_of_the_store_itself(growth: ModuleType, tmp_path: Path) -> None:
    world = growth.Growth(2)
    with open_store(growth, tmp_path) as store:
        store.commit(world.batch(store, 8))
        state, _ = world.replay(7)
        key = min(state)
        assert store.read_state(key) == state[key]
        assert list(store.state_items()) == sorted(state.items())
        some = [pair for pair in sorted(state.items()) if pair[0].startswith(b"a/1")]
        assert list(store.state_items(b"a/1")) == some
        assert store.read_certificate(3) == b"certificate 3"
        assert store.read_certificate(4) is None
        assert store.read_outcome(4) == b"outcome 4"
        assert store.find_block(world.block_hash(5)) == 5
        assert store.find_block(bytes(32)) is None
        place = store.find_transaction(world.transactions(6)[2])
        assert place is not None
        assert (place.height, place.index) == (6, 2)
        assert store.find_transaction(bytes(32)) is None
        tip = store.tip()
        assert tip is not None
        assert store.read_roots(7) == tip.roots
        assert tip.roots.state is not None
        assert store.read_node(tip.roots.state[-8:]) is not None
        with store.snapshot() as snapshot:
            assert snapshot.find_certificate(4) == (6, b"certificate 6")
            assert snapshot.find_certificate(7) is None


def test_ranges_are_bounded_by_count_and_bytes(growth: ModuleType, tmp_path: Path) -> None:
    world = growth.Growth(3)
    with open_store(growth, tmp_path) as store:
        store.commit(world.batch(store, 8))
        heights = [height for height, _, _ in store.read_blocks(2, 3, 10_000)]
        assert heights == [2, 3, 4]
        assert store.read_blocks(6, 9, 10_000)[0] == (6, b"block 6", b"certificate 6")
        assert len(store.read_blocks(6, 9, 10_000)) == 2
        assert [height for height, _, _ in store.read_blocks(1, 9, 14)] == [1, 2]
        assert [height for height, _, _ in store.read_blocks(1, 9, 1)] == [1]
        assert store.read_blocks(8, 9, 10_000) == []


def test_a_snapshot_does_not_move(growth: ModuleType, tmp_path: Path) -> None:
    world = growth.Growth(4)
    with open_store(growth, tmp_path, keep_blocks=0) as store:
        store.commit(world.batch(store, 3))
        with store.snapshot() as snapshot:
            store.commit(world.batch(store, 3))
            before = snapshot.tip()
            assert before is not None
            assert before.height == 2
            assert dict(snapshot.state_items()) == world.replay(2)[0]
            assert all(snapshot.read_node(node_id) for node_id in snapshot.node_ids())
        assert world.check(store, 0) == 5


def test_blocks_follow_the_tip(growth: ModuleType, tmp_path: Path) -> None:
    world = growth.Growth(5)
    with open_store(growth, tmp_path) as store:
        batch = world.batch(store, 4)
        with pytest.raises(InvariantBroken, match="one by one"):
            store.commit(replace(batch, blocks=[batch.blocks[0], batch.blocks[2]]))
        assert store.tip() is None
        store.commit(batch)
        with pytest.raises(InvariantBroken, match="one by one"):
            store.commit(batch)
        with pytest.raises(InvariantBroken, match="next append id"):
            store.commit(replace(world.batch(store, 1), next_id=3))
        with pytest.raises(InvariantBroken, match="at least one"):
            store.commit(FinalizedBatch([], 1))
        assert world.check(store, None) == 3


def test_a_snapshot_block_may_come_first(growth: ModuleType, tmp_path: Path) -> None:
    with open_store(growth, tmp_path) as store:
        genesis = growth.Growth(6).batch(store, 1)
        synced = replace(genesis.blocks[0], height=4800)
        store.commit(replace(genesis, blocks=[synced]))
        tip = store.tip()
        assert tip is not None
        assert tip.height == 4800


def test_the_high_water_mark_never_falls(growth: ModuleType, tmp_path: Path) -> None:
    with open_store(growth, tmp_path) as store:
        world = growth.Growth(7)
        store.commit(replace(world.batch(store, 1), next_id=10_000))
        record = replace(
            world.batch(store, 1).blocks[0], nodes={}, stale=[], roots=Roots(None, None)
        )
        store.commit(FinalizedBatch([record], 50))
        tip = store.tip()
        assert tip is not None
        assert tip.next_id == 10_000


def test_pruning_is_bounded_and_catches_up(
    growth: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = growth.Growth(8)
    with open_store(growth, tmp_path) as store:
        store.commit(world.batch(store, 12))
    monkeypatch.setattr(pruning, "PRUNE_LISTS_MAX", 3)
    with open_store(growth, tmp_path, keep_blocks=2) as store:
        for height, oldest in ((12, 2), (13, 5), (14, 8), (15, 11), (16, 14), (17, 15)):
            store.commit(world.batch(store, 1))
            assert world.check(store, height - oldest) == height
    monkeypatch.setattr(pruning, "PRUNE_NODES_MAX", 1)
    with open_store(growth, tmp_path, keep_blocks=0) as store:
        store.commit(world.batch(store, 1))
        assert world.check(store, 2) == 18


def test_stale_lists_are_applied_by_rounds(growth: ModuleType, tmp_path: Path) -> None:
    """Of three with twelve blocks kept; the store is opened anew for each block of each round."""
    world, unreached = growth.Growth(9), []
    for height in range(40):
        with open_store(growth, tmp_path, keep_blocks=12) as store:
            store.commit(world.batch(store, 1))
            with store.snapshot() as snapshot:
                roots = {at: snapshot.read_roots(at) for at in range(height + 1)}
                kept = {at: each for at, each in roots.items() if each is not None}
                assert list(kept) == list(range(min(kept), height + 1))
                assert height - 14 <= min(kept) <= max(0, height - 12)
                found: set[bytes] = set()
                for each in kept.values():
                    found.update(growth.reached(STATE_CODEC, snapshot.read_node, each.state))
                    found.update(growth.reached(PASH_CODEC, snapshot.read_node, each.pash))
                stored, waiting = set(snapshot.node_ids()), set(snapshot.stale_ids())
                assert stored == found | waiting
                unreached.append(stored - found)
    # After its first third a round has two left, then one, then none.
    for two, one, none in zip(unreached[15::3], unreached[16::3], unreached[17::3], strict=False):
        assert two > one > none == set()
        assert abs(len(two) - 2 * len(one)) <= 2
        assert max(two - one) < min(one), "those that went together lay together"


def test_another_chain_is_refused(growth: ModuleType, tmp_path: Path) -> None:
    open_store(growth, tmp_path).close()
    other = Hash(hashlib.sha256(b"other").digest())
    with pytest.raises(Corrupt, match="store_other_chain"):
        ChainStore.open(tmp_path, other)
    open_store(growth, tmp_path).close()


def test_a_damaged_tip_is_corrupt(growth: ModuleType, tmp_path: Path) -> None:
    with open_store(growth, tmp_path) as store:
        store._environment.write(lambda writer: writer.put("meta", b"tip", b"\x81\x00"))
    with pytest.raises(Corrupt, match="store_damaged"):
        open_store(growth, tmp_path)


KILLS = 10
LIFE_S_MAX = 0.8


@pytest.mark.slow
def test_a_node_lost_before_it_was_pruned_is_damage(growth: ModuleType, tmp_path: Path) -> None:
    world = growth.Growth(1)
    with ChainStore.open(tmp_path, growth.CHAIN_ID, keep_blocks=3, sync=False) as store:
        for _ in range(6):
            store.commit(world.batch(store, 1))
        with store.snapshot() as snapshot:
            lost = next(snapshot.stale_ids())
        store._environment.write(lambda writer: writer.delete(NODES, lost))
        with pytest.raises(Corrupt, match="store_damaged"):
            store.commit(world.batch(store, 4))


def test_kill_at_any_moment(growth: ModuleType, tmp_path: Path) -> None:
    """A process that commits is killed again and again: what it said is durable is, and whole."""
    seed = 9
    rng = random.Random(seed)
    world, program = growth.Growth(seed), Path(growth.__file__)
    durable = -1
    for _ in range(KILLS):
        command = [sys.executable, str(program), str(tmp_path), str(seed)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            said = child.stdout.readline()  # it runs
            time.sleep(rng.uniform(0.0, LIFE_S_MAX))
            child.kill()
            said += child.stdout.read()
        with open_store(growth, tmp_path, growth.KEEP_BLOCKS) as store:
            found = world.check(store, growth.KEEP_BLOCKS)
        whole = said[: said.rfind(b"\n") + 1].split()
        durable = max([durable, *(int(height) for height in whole)])
        assert found >= durable, f"seed {seed}: {durable} was durable, {found} is on disk"
    assert durable > KILLS
