"""COMMIT and REVEAL (DESIGN §9): seats, bonds, early closing, deadlines, and every refusal."""

from dataclasses import replace

import pytest

from p2p_aios.ledger.queries import list_tasks, read_supply, read_task, read_worker
from p2p_aios.ledger.records import RoundPhase, TaskStatus
from p2p_aios.ledger.tasks import WAIT_BLOCKS_MAX
from p2p_aios.types.compute import JobKind, RegisterWorker, RetireWorker
from p2p_aios.types.event import (
    AttestOpened,
    RevealOpened,
    RoundOpened,
    RoundVoided,
    TaskFinished,
    TaskOpened,
    UpdateRefused,
)
from p2p_aios.types.learning import Activation, ModelKind, ModelSpec
from p2p_aios.units import AIOS, Amount, Hash
from tests.ledger.world import (
    ALICE,
    BOB,
    FEE,
    FUNDS,
    VALIDATORS,
    WORKERS,
    Update,
    World,
    cid,
    key,
    make_task,
    reveal,
)

UPDATES = [Update(worker, cid(f"update {i}")) for i, worker in enumerate(WORKERS)]


def open_task(**changes: object) -> tuple[World, Hash]:
    """A world whose task has just opened its first round."""
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task(**changes))
    world.block()
    return world, task


def commit_all(world: World, task: Hash, number: int = 0) -> None:
    pairs = [(u.worker, world.commit(task, number, u)) for u in UPDATES]
    assert set(world.do(*pairs)) == {"ok"}


def test_a_task_escrows_its_budget_and_opens_a_round_in_the_next_block() -> None:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task())
    assert world.found(TaskOpened) == [TaskOpened(task, ALICE.address)]
    assert read_supply(world.state).escrow == 90 * AIOS
    world.block()
    (opened,) = world.found(RoundOpened)
    assert (opened.round, opened.base) == (0, cid("base"))
    assert opened.deadline == world.height + 5
    assert sorted(opened.seats) == sorted(w.address for w in WORKERS)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"base": bytes(36)}, "cid_malformed"),
        ({"test_shard": bytes(36)}, "cid_malformed"),
        ({"commit_blocks": 1201}, "window_too_long"),
        ({"reveal_blocks": 1201}, "window_too_long"),
        ({"attest_blocks": 1201}, "window_too_long"),
        ({"reveal_blocks": 1}, "window_too_short"),
        ({"attest_blocks": 1}, "window_too_short"),
        ({"rounds": 10_001}, "task_malformed"),
        ({"updates_min": 4}, "task_malformed"),
        ({"model": ModelSpec(ModelKind.LINEAR, (4, 3, 2), Activation.RELU)}, "model_malformed"),
        ({"model": ModelSpec(ModelKind.MLP, (1 << 20, 64), Activation.RELU)}, "model_too_large"),
        ({"budget": FUNDS}, "funds_insufficient"),
    ],
)
def test_a_malformed_task_is_refused(changes: dict[str, object], code: str) -> None:
    world = World()
    transaction = world.transaction(ALICE, make_task(**changes))
    (receipt,) = world.block(transaction).receipts
    assert receipt.code == code
    assert world.balance(ALICE.address) == FUNDS - transaction.body.fee
    assert list_tasks(world.state) == ()


def test_a_task_with_more_seats_than_the_protocol_allows_is_refused() -> None:
    params = replace(World().params, task_seats_max=2)
    world = World(params)
    assert world.do((ALICE, make_task())) == ("task_malformed",)


def test_seats_are_drawn_where_more_workers_offer_than_there_are_seats() -> None:
    world, task = open_task(seats=2)
    seats = [seat.worker for seat in world.round(task).seats]
    assert len(set(seats)) == 2
    assert set(seats) < {w.address for w in WORKERS}


def test_only_workers_that_offer_training_are_seated() -> None:
    world = World()
    world.register_workers()
    world.do((WORKERS[0], RegisterWorker(VALIDATORS[0].address, 1, (JobKind.EVALUATE,))))
    task = world.last_id(ALICE, make_task())
    world.block()
    seats = {seat.worker for seat in world.round(task).seats}
    assert seats == {w.address for w in WORKERS[1:]}


def test_offers_made_in_the_block_of_a_draw_do_not_touch_it() -> None:
    """The draw's inputs were fixed before its mix was known."""
    world, _task = open_task(rounds=2, commit_blocks=1)
    # The commit deadline passes: round 0 is void, and round 1 opens at the next block's start.
    world.do((WORKERS[0], RetireWorker()))
    world.block()
    assert len(world.found(RoundVoided)) == 1
    late = world.transaction(WORKERS[1], RetireWorker())
    world.block(late)
    (opened,) = world.found(RoundOpened)
    assert WORKERS[1].address in opened.seats
    assert WORKERS[0].address not in opened.seats


def test_the_round_waits_for_enough_workers() -> None:
    world = World()
    world.do((WORKERS[0], RegisterWorker(VALIDATORS[0].address, 1, (JobKind.TRAIN,))))
    task = world.last_id(ALICE, make_task())
    assert not any(isinstance(event, RoundOpened) for event in world.blocks(6))
    world.do((WORKERS[1], RegisterWorker(VALIDATORS[0].address, 1, (JobKind.TRAIN,))))
    assert any(isinstance(event, RoundOpened) for event in world.blocks(5))
    assert len(world.round(task).seats) == 2


def test_a_task_that_never_finds_workers_ends_and_refunds() -> None:
    world = World()
    world.audit_each_block = False
    task = world.last_id(ALICE, make_task())
    events = world.blocks(WAIT_BLOCKS_MAX + 8)
    ends = [e for e in events if isinstance(e, RoundVoided | TaskFinished)]
    budget = make_task().budget
    assert ends == [
        RoundVoided(task, 0, "too_few_workers"),
        TaskFinished(task, cid("base"), budget),
    ]
    assert world.balance(ALICE.address) == FUNDS - FEE


def test_a_commit_escrows_the_bond_and_the_last_one_opens_reveal() -> None:
    world, task = open_task()
    first, *others = UPDATES
    assert world.do((first.worker, world.commit(task, 0, first))) == ("ok",)
    assert read_supply(world.state).bonds == AIOS
    assert world.round(task).phase is RoundPhase.COMMIT
    world.do(*((u.worker, world.commit(task, 0, u)) for u in others))
    (opened,) = world.found(RevealOpened)
    assert opened.deadline == world.height + 4
    assert set(opened.seats) == {w.address for w in WORKERS}


def test_commits_that_do_not_count_are_refused() -> None:
    world, task = open_task()
    first = UPDATES[0]
    commit = world.commit(task, 0, first)
    stranger = world.commit(task, 0, Update(BOB, cid("x")))
    assert world.do((BOB, stranger)) == ("not_seated",)
    assert world.do((BOB, replace(commit, task=Hash(bytes(32))))) == ("unknown_task",)
    assert world.do((BOB, replace(commit, round=1))) == ("unknown_round",)
    assert world.do((first.worker, commit)) == ("ok",)
    assert world.do((first.worker, commit)) == ("already_committed",)


def test_who_cannot_pay_the_bond_cannot_commit() -> None:
    world, task = open_task(bond=Amount(2 * FUNDS))
    assert world.do((WORKERS[0], world.commit(task, 0, UPDATES[0]))) == ("funds_insufficient",)


def test_a_late_commit_is_refused() -> None:
    world, task = open_task()
    for update in UPDATES[:2]:
        world.do((update.worker, world.commit(task, 0, update)))
    commit = world.commit(task, 0, UPDATES[2])
    world.blocks(3)
    assert world.do((WORKERS[2], commit)) == ("round_not_committing",)
    assert world.round(task).phase is RoundPhase.REVEAL


def test_a_commit_at_its_deadline_counts() -> None:
    world, task = open_task()
    world.blocks(4)
    assert world.height + 1 == world.round(task).deadline
    assert world.do((WORKERS[0], world.commit(task, 0, UPDATES[0]))) == ("ok",)


def test_too_few_commits_void_the_round_and_return_the_bonds() -> None:
    world, task = open_task()
    world.do((WORKERS[0], world.commit(task, 0, UPDATES[0])))
    before = world.balance(WORKERS[0].address)
    events = world.blocks(6)
    assert [e for e in events if isinstance(e, RoundVoided)] == [
        RoundVoided(task, 0, "too_few_updates")
    ]
    assert [e.round for e in events if isinstance(e, RoundOpened)] == [1]
    # One AIOS of bond came back; the epoch that ended on the way pays contributors nothing.
    assert world.balance(WORKERS[0].address) == before + AIOS
    assert world.round(task, 1).base == cid("base")


def test_the_last_reveal_opens_the_attestation_in_seat_order() -> None:
    world, task = open_task()
    commit_all(world, task)
    assert set(world.do(*((u.worker, reveal(task, 0, u)) for u in UPDATES))) == {"ok"}
    (opened,) = world.found(AttestOpened)
    by_worker = {u.worker.address: u.cid for u in UPDATES}
    assert [u.worker for u in opened.updates] == [s.worker for s in world.round(task).seats]
    assert all(by_worker[u.worker] == u.update for u in opened.updates)
    assert opened.base == cid("base")
    assert opened.deadline == world.height + 6


def test_reveals_that_do_not_count_are_refused() -> None:
    world, task = open_task()
    first = UPDATES[0]
    assert world.do((first.worker, reveal(task, 0, first))) == ("round_not_revealing",)
    commit_all(world, task)
    action = reveal(task, 0, first)
    wrong_salt = replace(action, salt=Hash(b"\1" * 32))
    assert world.do((first.worker, wrong_salt)) == ("commitment_mismatch",)
    assert world.do((first.worker, replace(action, update=cid("y")))) == ("commitment_mismatch",)
    assert world.do((first.worker, replace(action, update=bytes(36)))) == ("cid_malformed",)
    assert world.do((BOB, action)) == ("not_seated",)


def test_a_second_reveal_is_refused() -> None:
    world, task = open_task()
    commit_all(world, task)
    action = reveal(task, 0, UPDATES[0])
    assert world.do((WORKERS[0], action)) == ("ok",)
    assert world.do((WORKERS[0], action)) == ("already_revealed",)


def test_another_seats_commitment_cannot_be_copied() -> None:
    """The commitment covers the worker's address."""
    world, task = open_task()
    original = world.commit(task, 0, UPDATES[0])
    pairs = [(u.worker, world.commit(task, 0, u)) for u in UPDATES[1:]]
    copied = [(WORKERS[0], original), (WORKERS[1], original), pairs[1]]
    assert set(world.do(*copied)) == {"ok"}
    assert world.do((WORKERS[1], reveal(task, 0, UPDATES[0]))) == ("commitment_mismatch",)


def test_who_does_not_commit_in_time_cannot_reveal() -> None:
    world, task = open_task()
    for update in UPDATES[:2]:
        world.do((update.worker, world.commit(task, 0, update)))
    world.blocks(4)
    assert world.do((WORKERS[2], reveal(task, 0, UPDATES[2]))) == ("not_committed",)


def test_an_unrevealed_update_forfeits_its_bond_to_the_reserve() -> None:
    world, task = open_task()
    commit_all(world, task)
    world.do(*((u.worker, reveal(task, 0, u)) for u in UPDATES[:2]))
    before = world.balance(WORKERS[2].address)
    events = world.blocks(4)
    refused = [e for e in events if isinstance(e, UpdateRefused)]
    assert refused == [UpdateRefused(task, 0, WORKERS[2].address, "update_unrevealed")]
    assert read_supply(world.state).bonds == 2 * AIOS
    assert world.balance(WORKERS[2].address) == before
    assert world.round(task).phase is RoundPhase.ATTEST


def test_too_few_reveals_void_the_round_and_return_the_revealers_bonds() -> None:
    world, task = open_task()
    commit_all(world, task)
    world.do((WORKERS[0], reveal(task, 0, UPDATES[0])))
    before = world.balance(WORKERS[0].address)
    events = world.blocks(4)
    refused = {e.worker for e in events if isinstance(e, UpdateRefused)}
    assert refused == {w.address for w in WORKERS[1:]}
    assert RoundVoided(task, 0, "too_few_updates") in events
    assert world.balance(WORKERS[0].address) == before + AIOS
    assert read_supply(world.state).bonds == 0


def test_voided_rounds_count_so_a_task_nobody_serves_ends() -> None:
    world, task = open_task(rounds=2)
    events = world.blocks(13)
    assert [e.round for e in events if isinstance(e, RoundVoided)] == [0, 1]
    finished = [e for e in events if isinstance(e, TaskFinished)]
    assert finished == [TaskFinished(task, cid("base"), Amount(90 * AIOS))]
    record = read_task(world.state, task)
    assert record is not None
    assert (record.status, record.escrow) == (TaskStatus.FINISHED, 0)
    assert list_tasks(world.state) == (record,)


def test_a_retired_worker_keeps_its_seat_and_is_forgotten_when_nothing_holds_it() -> None:
    world, task = open_task(rounds=1)
    for update in UPDATES[:2]:
        world.do((update.worker, world.commit(task, 0, update)))
    world.do((WORKERS[0], RetireWorker()))
    assert world.do((WORKERS[2], world.commit(task, 0, UPDATES[2]))) == ("ok",)
    assert set(world.do(*((u.worker, reveal(task, 0, u)) for u in UPDATES))) == {"ok"}
    while world.height % world.params.epoch_blocks:
        world.block()
    seated = read_worker(world.state, WORKERS[0].address)
    assert seated is not None
    assert (seated.kinds, seated.seats) == ((), 1)
    world.blocks(2 * world.params.epoch_blocks)
    assert read_worker(world.state, WORKERS[0].address) is None
    assert read_worker(world.state, WORKERS[1].address) is not None


def test_open_tasks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p_aios.ledger.tasks.TASKS_OPEN_MAX", 1)
    world = World()
    assert world.do((ALICE, make_task()), (BOB, make_task())) == ("ok", "too_many_tasks")


def test_a_stranger_task_id_is_not_found() -> None:
    assert read_task(World().state, Hash(key("x").secret)) is None


def test_a_block_advances_a_bounded_number_of_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p_aios.ledger.phases.TASKS_PER_BLOCK_MAX", 1)
    world = World()
    world.register_workers()
    world.do((ALICE, make_task()), (BOB, make_task()))
    world.block()
    assert len(world.found(RoundOpened)) == 1
    world.block()
    assert len(world.found(RoundOpened)) == 1
    assert len(list_tasks(world.state)) == 2
