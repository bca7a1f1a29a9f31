"""What a node owes, read off the state alone: who, when, and no longer than that."""

import pytest

from p2p_aios.codec import cbor
from p2p_aios.ledger.queries import read_job
from p2p_aios.node.duties import AttestDuty, Duty, JobDuty, RevealDuty, TrainDuty, duties
from p2p_aios.types.compute import JobKind, RegisterWorker, SubmitJob
from p2p_aios.units import AIOS, Amount, Hash
from tests.ledger.world import (
    ALICE,
    VALIDATORS,
    WORKERS,
    Update,
    World,
    attest,
    cid,
    make_task,
    reveal,
)

HOME, ELSEWHERE = VALIDATORS[0].address, VALIDATORS[1].address
UPDATES = [Update(worker, cid(f"update {i}")) for i, worker in enumerate(WORKERS)]


def open_task(**changes: object) -> tuple[World, Hash]:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task(**changes))
    world.block()
    return world, task


def due(world: World, validator: object = HOME) -> set[Duty]:
    found = duties(world.state, validator)  # type: ignore[arg-type]
    assert len(set(found)) == len(found)
    return set(found)


def test_a_round_from_its_first_commit_to_its_end() -> None:
    world, task = open_task()
    training = {TrainDuty(task, 0, worker.address) for worker in WORKERS}
    assert due(world) == training
    assert due(world, ELSEWHERE) == set(), "their contributors are at home elsewhere"
    first = UPDATES[0]
    world.do((first.worker, world.commit(task, 0, first)))
    assert due(world) == training - {TrainDuty(task, 0, first.worker.address)}
    world.do(*((u.worker, world.commit(task, 0, u)) for u in UPDATES[1:]))
    assert due(world) == {RevealDuty(task, 0, worker.address) for worker in WORKERS}
    world.do(*((u.worker, reveal(task, 0, u)) for u in UPDATES))
    for validator in VALIDATORS:
        assert due(world, validator.address) == {AttestDuty(task, 0)}
    world.block(world.free(VALIDATORS[1], attest(task, 0)))
    assert due(world, ELSEWHERE) == set()
    assert due(world) == {AttestDuty(task, 0)}
    world.block(*(world.free(v, attest(task, 0)) for v in (VALIDATORS[0], *VALIDATORS[2:])))
    world.block()
    assert due(world) == {TrainDuty(task, 1, worker.address) for worker in WORKERS}


def test_who_did_not_commit_has_nothing_to_reveal() -> None:
    world, task = open_task(commit_blocks=2)
    world.do(*((u.worker, world.commit(task, 0, u)) for u in UPDATES[:2]))
    world.blocks(2)
    assert due(world) == {RevealDuty(task, 0, u.worker.address) for u in UPDATES[:2]}


def test_a_task_without_workers_asks_nothing() -> None:
    world = World()
    world.last_id(ALICE, make_task())
    world.block()
    assert due(world) == set()


def test_a_stranger_to_the_panel_attests_nothing() -> None:
    world, task = open_task()
    world.do(*((u.worker, world.commit(task, 0, u)) for u in UPDATES))
    world.do(*((u.worker, reveal(task, 0, u)) for u in UPDATES))
    assert due(world, ALICE.address) == set()


@pytest.mark.parametrize("is_home", [True, False])
def test_a_job_is_due_from_its_assignment_to_its_deadline(is_home: bool) -> None:
    world = World()
    worker = WORKERS[0]
    world.do((worker, RegisterWorker(HOME, 1, (JobKind.EVALUATE,))))
    order = SubmitJob(JobKind.EVALUATE, (cid("m"), cid("s")), cbor.encode([]), Amount(AIOS), 2)
    job = world.last_id(ALICE, order)
    assert due(world) == set(), "it waits for a draw"
    world.block()
    mine = {JobDuty(job, 0, worker.address)}
    assert due(world, HOME if is_home else ELSEWHERE) == (mine if is_home else set())
    world.blocks(3)
    record = read_job(world.state, job)
    assert record is not None
    assert all(isinstance(duty, JobDuty) and duty.assignment > 0 for duty in due(world))
