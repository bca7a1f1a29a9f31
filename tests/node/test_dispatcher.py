"""Duties done through a real child process: whole rounds, jobs, and children that fail or lie."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from p2p_aios.codec import cbor
from p2p_aios.codec.cid import cid_of
from p2p_aios.errors import Unavailable
from p2p_aios.ledger.queries import list_tasks, read_job, read_round
from p2p_aios.ledger.records import ComputeJob, JobStatus, LearningRound, RoundPhase
from p2p_aios.node.blobs import Blobs
from p2p_aios.node.chain import Chain
from p2p_aios.node.dispatcher import (
    SHOWN_BLOCKS_MAX,
    Dispatcher,
    update_bytes_max,
)
from p2p_aios.node.gateway import GatewayConfig, open_gateway
from p2p_aios.node.transactions import Transactions
from p2p_aios.storage.blobs import BlobStore
from p2p_aios.types.compute import JobKind, RegisterWorker, SubmitJob
from p2p_aios.types.learning import Verdict
from p2p_aios.types.transaction import Action
from p2p_aios.units import AIOS, Amount, Cid, Hash
from tests.ledger.world import make_task
from tests.node.founders import ALICE, BOB, PARAMS, Founders
from tests.node.quiet import open_quiet_network

CHILD = Path(__file__).parent / "scripted_gateway.py"
FOUNDERS = Founders(1, PARAMS)
HOME = FOUNDERS.validators[0]
BASE, SHARD = b"base", b"shard"
DISK_FAULT = Unavailable("storage_failed", "the disk refused")


class Workshop:
    """A lone validator with contributors ALICE and BOB, whose blocks are made by the test."""

    def __init__(self, chain: Chain, pool: Transactions, blobs: Blobs, work: Dispatcher) -> None:
        self.chain = chain
        self.pool = pool
        self.blobs = blobs
        self.dispatcher = work

    async def block(self, *, is_full: bool = False) -> None:
        """One with everything that waits, or with no room for it."""
        footing = self.chain.footing(self.chain.tip.hash)
        waiting = self.pool.select(footing, self.chain.params.block_transactions_max)
        waiting = () if is_full else waiting
        candidate = await FOUNDERS.build(self.chain, self.chain.tip.hash, *waiting)
        certificate = FOUNDERS.certify(self.chain, candidate)
        self.pool.forget_finalized(await self.chain.finalize([candidate.hash], certificate))
        self.dispatcher.wake()

    async def do(self, *pairs: tuple[object, Action]) -> None:
        for sender, action in pairs:
            await self.pool.submit_own(sender, action)  # type: ignore[arg-type]
        await self.block()

    async def until(self, condition: Callable[[], bool], blocks_max: int = 60) -> None:
        """Make blocks as their duties come in."""
        for _ in range(blocks_max):
            if condition():
                return
            with trio.move_on_after(0.5):
                while not len(self.pool.mempool) and not condition():
                    await trio.sleep(0.01)
            await self.block()
        raise AssertionError(f"not within {blocks_max} blocks")

    async def register(self) -> None:
        offer = RegisterWorker(HOME.address, 2, (JobKind.TRAIN, JobKind.EVALUATE))
        await self.do((ALICE, offer), (BOB, offer))

    async def open_task(self, **changes: object) -> Hash:
        (id,) = await self.open_tasks(1, **changes)
        return id

    async def open_tasks(self, count: int, **changes: object) -> list[Hash]:
        """Several in one block, in the order of their ids."""
        base, shard = await self.blobs.put(BASE), await self.blobs.put(SHARD)
        usual = {"seats": 2, "updates_min": 1, "reveal_blocks": 8}
        task = make_task(base=base, test_shard=shard, **(usual | changes))
        await self.do(*[(ALICE, task)] * count)
        with self.chain.state() as state:
            return [found.id for found in list_tasks(state)]

    def round(self, task: Hash, number: int) -> LearningRound | None:
        with self.chain.state() as state:
            return read_round(state, task, number)

    def is_closed(self, task: Hash, number: int) -> bool:
        found = self.round(task, number)
        return found is not None and found.phase in (RoundPhase.SETTLED, RoundPhase.VOIDED)

    def job(self, id: Hash) -> ComputeJob:
        with self.chain.state() as state:
            found = read_job(state, id)
        assert found is not None
        return found


@asynccontextmanager
async def open_workshop(folder: Path, mood: str) -> AsyncIterator[Workshop]:
    command = (sys.executable, str(CHILD), mood)
    config = GatewayConfig("127.0.0.2:1", folder / "t", "127.0.0.2", folder / "log", command)
    store = BlobStore(folder / "blobs")
    async with (
        FOUNDERS.open_chain(folder / "chain") as chain,
        open_quiet_network(chain) as network,
        open_gateway(config) as gateway,
        trio.open_nursery() as nursery,
    ):
        pool, blobs = Transactions(chain, network.gossip), Blobs(chain, store, network)
        dispatcher = Dispatcher(chain, pool, blobs, gateway, HOME)
        with trio.fail_after(30):
            await gateway.wait_up()
        nursery.start_soon(dispatcher.run)
        await wait_all_tasks_blocked()
        yield Workshop(chain, pool, blobs, dispatcher)
        nursery.cancel_scope.cancel()
    store.close()


async def test_rounds_settle_one_after_the_other(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, "honest") as workshop:
        await workshop.register()
        task = await workshop.open_task(rounds=2)
        await workshop.until(lambda: workshop.is_closed(task, 1))
        for number in range(2):
            found = workshop.round(task, number)
            assert found is not None
            assert found.phase is RoundPhase.SETTLED
            assert [seat.verdict for seat in found.seats] == [Verdict.ACCEPTED] * 2
            assert found.settled is not None
            held = await workshop.blobs.fetch(found.settled.aggregate)
            assert cid_of(held) == found.settled.aggregate


async def test_a_job_is_run_and_its_output_kept(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, "honest") as workshop:
        await workshop.register()
        job = await submit_job(workshop, await workshop.blobs.put(b"input"))
        await workshop.until(lambda: workshop.job(job).status is JobStatus.SETTLED)
        receipt = workshop.job(job).receipt
        assert receipt is not None
        assert (await workshop.blobs.fetch(receipt.output)).startswith(b"output of ")


async def submit_job(workshop: Workshop, *inputs: Cid) -> Hash:
    order = SubmitJob(JobKind.EVALUATE, inputs, cbor.encode([]), Amount(AIOS), 10)
    job = await workshop.pool.submit_own(ALICE, order)
    await workshop.block()
    return job


@pytest.mark.parametrize("mood", ["hostile", "failing"])
async def test_children_that_lie_or_fail_cost_their_round_and_nothing_else(
    tmp_path: Path, mood: str
) -> None:
    async with open_workshop(tmp_path, mood) as workshop:
        await workshop.register()
        task = await workshop.open_task(rounds=1, commit_blocks=3, reveal_blocks=3, attest_blocks=3)
        job = await submit_job(workshop, await workshop.blobs.put(b"input"))
        await workshop.until(lambda: workshop.is_closed(task, 0))
        found = workshop.round(task, 0)
        assert found is not None
        assert found.phase is RoundPhase.VOIDED
        assert workshop.job(job).status is not JobStatus.SETTLED


async def test_inputs_that_nobody_has_fail_their_job_alone(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, "honest") as workshop:
        await workshop.register()
        lost = await submit_job(workshop, cid_of(b"nobody has this"))
        good = await submit_job(workshop, await workshop.blobs.put(b"input"))
        await workshop.until(lambda: workshop.job(good).status is JobStatus.SETTLED)
        assert workshop.job(lost).status is not JobStatus.SETTLED


async def test_duties_that_keep_failing_leave_room_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may order the undoable, or name this node as the home of workers it cannot reach."""
    monkeypatch.setattr("p2p_aios.node.dispatcher.DUTIES_MAX", 1)
    async with open_workshop(tmp_path, "honest") as workshop:
        await workshop.register()
        await submit_job(workshop, cid_of(b"nobody has this"))
        good = await submit_job(workshop, await workshop.blobs.put(b"input"))
        await workshop.until(lambda: workshop.job(good).status is JobStatus.SETTLED, 30)


async def test_an_update_far_larger_than_its_model_is_not_looked_at(tmp_path: Path) -> None:
    """Every panel member draws the same line, so they agree that it is not to be had."""
    model = make_task().model
    limit = update_bytes_max(model)
    async with open_workshop(tmp_path, "honest") as workshop:
        small = await workshop.blobs.put(bytes(limit))
        large = await workshop.blobs.put(bytes(limit + 1))
        find = workshop.dispatcher._find_update
        assert await find(small, limit) == small
        assert await find(large, limit) is None


async def test_a_fault_of_ours_is_no_update_withheld(tmp_path: Path) -> None:
    """To call it so costs its contributor the bond, and us a wrong attestation."""
    async with open_workshop(tmp_path, "honest") as workshop:
        find, absent = workshop.dispatcher._find_update, cid_of(b"nobody has this")
        network = workshop.blobs._network
        assert await find(absent, 100) is None
        # As after a restart: members that are not connected yet may well hold it.
        network.committee.set_committee([network.peer, b"second", b"third", b"fourth"])
        with pytest.raises(Unavailable) as unreachable:
            await find(absent, 100)
        assert unreachable.value.code == "committee_unreachable"
        network.committee.set_committee([network.peer])
        held = await workshop.blobs.put(b"update")
        broken = mock.patch.object(workshop.blobs.store, "pin", side_effect=DISK_FAULT)
        with broken, pytest.raises(Unavailable) as failed:
            await find(held, 100)
        assert failed.value.code == "storage_failed"


async def test_a_reveal_does_not_wait_for_another_tasks_training(tmp_path: Path) -> None:
    """Its window would pass meanwhile, and the bond be lost: training takes longer."""
    async with open_workshop(tmp_path, "slow") as workshop:
        await workshop.register()
        tasks = await workshop.open_tasks(2, rounds=1, commit_blocks=40, reveal_blocks=8)
        await workshop.until(lambda: all(workshop.is_closed(task, 0) for task in tasks))
        for task in tasks:
            found = workshop.round(task, 0)
            assert found is not None
            assert [seat.verdict for seat in found.seats] == [Verdict.ACCEPTED] * 2


async def test_what_waits_for_a_block_is_not_sent_and_paid_for_again(tmp_path: Path) -> None:
    async with open_workshop(tmp_path, "honest") as workshop:
        await workshop.register()
        task = await workshop.open_task(rounds=1, commit_blocks=100)
        await workshop.block()  # draws the seats
        with trio.fail_after(20):
            while len(workshop.pool.mempool) < 2:
                await trio.sleep(0.01)
        for _ in range(SHOWN_BLOCKS_MAX + 3):
            await workshop.block(is_full=True)
            await wait_all_tasks_blocked(0.05)
        assert len(workshop.pool.mempool) == 2
        await workshop.until(lambda: workshop.is_closed(task, 0))


def test_the_limit_has_room_for_an_honest_update() -> None:
    model = make_task().model
    parameters = sum((a + 1) * b for a, b in zip(model.layers, model.layers[1:], strict=False))
    assert update_bytes_max(model) > 4 * parameters + 16
    wider = replace(model, layers=(64, 640, 10))
    assert update_bytes_max(wider) > update_bytes_max(model)
