"""Ledger records as clients see them, in every phase."""

from p2p_aios.codec import cbor
from p2p_aios.ledger.queries import (
    read_committee,
    read_job,
    read_supply,
    read_task,
    read_validators,
    read_worker,
)
from p2p_aios.node import projection
from p2p_aios.node.projection import (
    view_job,
    view_round,
    view_supply,
    view_task,
    view_validator,
    view_worker,
)
from p2p_aios.types.compute import JobKind, RetireWorker, SubmitJob
from p2p_aios.types.learning import Verdict
from p2p_aios.types.views import JobState, Phase, RoundView, TaskView
from p2p_aios.units import AIOS, Amount, Epoch, Hash, Height
from tests.ledger.world import (
    ALICE,
    SCORE,
    VALIDATORS,
    WORKERS,
    Update,
    World,
    attest,
    cid,
    make_task,
    reveal,
)

UPDATES = [Update(worker, cid(f"update {i}")) for i, worker in enumerate(WORKERS)]


def task_of(world: World, id: Hash) -> TaskView:
    task = read_task(world.state, id)
    assert task is not None
    return view_task(world.state, task)


def round_of(world: World, id: Hash, number: int = 0) -> RoundView:
    return view_round(world.round(id, number))


def test_a_round_through_its_phases() -> None:
    world = World()
    task = world.last_id(ALICE, make_task())
    assert task_of(world, task).phase is Phase.OPEN, "nobody can be seated yet"
    world.register_workers()
    while task_of(world, task).phase is Phase.OPEN:
        world.block()
        assert world.height < 50
    seen = round_of(world, task)
    assert (seen.phase, seen.base, len(seen.seats)) == (Phase.COMMIT, cid("base"), 3)
    assert seen.deadline is not None
    assert seen.closed is None
    world.do(*((u.worker, world.commit(task, 0, u)) for u in UPDATES))
    seen = round_of(world, task)
    assert seen.phase is Phase.REVEAL
    assert all(seat.has_committed and seat.update is None for seat in seen.seats)
    world.do(*((u.worker, reveal(task, 0, u)) for u in UPDATES))
    seen = round_of(world, task)
    assert seen.phase is Phase.ATTEST
    assert {seat.update for seat in seen.seats} == {update.cid for update in UPDATES}
    assert task_of(world, task).score is None
    world.block(*(world.free(validator, attest(task, 0)) for validator in VALIDATORS))
    seen = round_of(world, task)
    assert (seen.phase, seen.closed, seen.deadline) == (Phase.SETTLED, world.height, None)
    assert (seen.aggregate, seen.score) == (cid("aggregate"), SCORE)
    assert seen.paid == 90 * AIOS // 3 // 3
    assert all(seat.verdict is Verdict.ACCEPTED for seat in seen.seats)
    after = task_of(world, task)
    assert (after.model, after.score) == (cid("aggregate"), SCORE)


def test_a_voided_round_says_why() -> None:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task(commit_blocks=1))
    world.blocks(4)
    seen = round_of(world, task)
    assert seen.phase is Phase.VOIDED
    assert seen.code is not None
    assert seen.aggregate is None
    assert seen.closed is not None


def test_a_score_is_not_searched_for_ever() -> None:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task(rounds=20, commit_blocks=1))
    world.blocks(2 * projection.SCORE_ROUNDS_MAX)
    record = read_task(world.state, task)
    assert record is not None
    assert record.round > 3
    assert task_of(world, task).score is None


def test_a_job_through_its_states() -> None:
    world = World()
    order = SubmitJob(JobKind.EVALUATE, (cid("m"), cid("s")), cbor.encode([]), Amount(AIOS), 1)
    id = world.last_id(ALICE, order)

    def seen() -> tuple[JobState, bool]:
        job = read_job(world.state, id)
        assert job is not None
        view = view_job(job)
        assert view.specification == order
        return view.state, view.deadline is not None

    assert seen() == (JobState.QUEUED, False)
    world.register_workers()
    world.block()
    assert seen() == (JobState.ASSIGNED, True)
    while seen()[0] is not JobState.REFUNDED:
        world.block()
        assert world.height < 2000
    assert seen() == (JobState.REFUNDED, False)
    refunded = read_job(world.state, id)
    assert refunded is not None
    assert view_job(refunded).code == "deadline_missed"


def test_workers_validators_and_supply() -> None:
    world = World()
    world.register_workers()
    record = read_worker(world.state, WORKERS[0].address)
    assert record is not None
    assert not view_worker(record).is_retired
    world.do((WORKERS[0], RetireWorker()))
    record = read_worker(world.state, WORKERS[0].address)
    assert record is not None
    assert view_worker(record).is_retired
    committee = read_committee(world.state, Epoch(0))
    assert committee is not None
    views = [view_validator(validator, committee) for validator in read_validators(world.state)]
    assert sorted(view.seat for view in views if view.seat is not None) == [0, 1, 2, 3]
    assert sum(view.blocks for view in views) == world.height
    supply = view_supply(read_supply(world.state), Height(world.height))
    assert supply.is_balanced
    assert supply.circulating + supply.reserve - supply.burn_debt == supply.target
