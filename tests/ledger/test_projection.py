"""Ledger records as clients see them, in every phase."""

from collections.abc import Callable
from typing import Any

from p2p_aios.codec import cbor
from p2p_aios.ledger import projection
from p2p_aios.ledger.projection import (
    project_job,
    project_open_jobs,
    project_round,
    project_rounds,
    project_supply,
    project_task,
    project_tasks,
    project_validators,
    project_workers,
)
from p2p_aios.ledger.queries import read_task
from p2p_aios.types.compute import JobKind, RetireWorker, SubmitJob
from p2p_aios.types.learning import Verdict
from p2p_aios.types.views import JobState, Phase, RoundView, TaskView
from p2p_aios.units import AIOS, Amount, Hash
from tests.ledger.world import (
    ALICE,
    PARAMS,
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
    view = project_task(world.state, id)
    assert view is not None
    return view


def round_of(world: World, id: Hash, number: int = 0) -> RoundView:
    view = project_round(world.state, id, number)
    assert view is not None
    return view


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

    def seen() -> tuple[JobState, bool, str | None]:
        view = project_job(world.state, id)
        assert view is not None
        assert view.specification == order
        is_open = view.state in (JobState.QUEUED, JobState.ASSIGNED)
        assert project_open_jobs(world.state, None, 9) == ((view,) if is_open else ())
        return view.state, view.deadline is not None, view.code

    assert seen() == (JobState.QUEUED, False, None)
    world.register_workers()
    world.block()
    assert seen() == (JobState.ASSIGNED, True, None)
    while seen()[0] is not JobState.REFUNDED:
        world.block()
        assert world.height < 2000
    assert seen() == (JobState.REFUNDED, False, "deadline_missed")


def test_workers_validators_and_supply() -> None:
    world = World()
    world.register_workers()
    world.do((WORKERS[0], RetireWorker()))
    workers = project_workers(world.state, None, 9)
    assert [view.address for view in workers] == sorted(worker.address for worker in WORKERS)
    assert [view.address for view in workers if view.is_retired] == [WORKERS[0].address]
    views = project_validators(world.state, PARAMS, None, 9)
    assert [view.seat for view in views] == [0, 1, 2, 3]
    assert sum(view.blocks for view in views) == world.height
    supply = project_supply(world.state)
    assert (supply.is_balanced, supply.height) == (True, world.height)
    assert supply.circulating + supply.reserve - supply.burn_debt == supply.target


def test_who_attested_otherwise_is_counted() -> None:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task())
    while round_of_or_none(world, task) is None:
        world.block()
    world.do(*((u.worker, world.commit(task, 0, u)) for u in UPDATES))
    world.do(*((u.worker, reveal(task, 0, u)) for u in UPDATES))
    other = attest(task, 0, aggregate="another")
    statements = (attest(task, 0), attest(task, 0), attest(task, 0), other)
    pairs = zip(VALIDATORS, statements, strict=True)
    world.block(*(world.free(validator, statement) for validator, statement in pairs))
    views = project_validators(world.state, PARAMS, None, 9)
    assert [view.wrong_attestations for view in views] == [0, 0, 0, 1]


def round_of_or_none(world: World, id: Hash) -> RoundView | None:
    return project_round(world.state, id, 0)


def test_listings_come_in_pages() -> None:
    world = World()
    world.register_workers()
    for _ in range(3):
        world.last_id(ALICE, make_task())
        order = SubmitJob(JobKind.EVALUATE, (cid("m"), cid("s")), cbor.encode([]), Amount(1), 1)
        world.last_id(ALICE, order)
    state, task = world.state, world.last_id(ALICE, make_task(commit_blocks=1))
    listings: list[Callable[[Any, int], tuple[Any, ...]]] = [
        lambda after, limit: project_workers(state, after, limit),
        lambda after, limit: project_validators(state, PARAMS, after, limit),
        lambda after, limit: project_open_jobs(state, after, limit),
        lambda after, limit: project_tasks(state, after, limit),
    ]
    for listing in listings:
        everything = listing(None, 99)
        assert len(everything) >= 3
        keys = [getattr(view, "id", None) or view.address for view in everything]
        assert keys == sorted(keys)
        assert listing(keys[0], 1) == everything[1:2]
        assert listing(keys[-1], 99) == ()
    world.blocks(4)
    rounds = project_rounds(world.state, task, 0, 99)
    assert rounds is not None
    assert len(rounds) > 1
    assert project_rounds(world.state, task, 1, 1) == rounds[1:2]
    assert project_rounds(world.state, Hash(bytes(32)), 0, 9) is None
