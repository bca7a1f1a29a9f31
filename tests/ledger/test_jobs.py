"""Workers and jobs (DESIGN §9, "Jobs"): offer, escrow, draw, receipt, deadline, refund."""

from dataclasses import replace

import pytest

from p2p_aios.codec import cbor
from p2p_aios.ledger.execute import execute_block
from p2p_aios.ledger.jobs import WAIT_BLOCKS_MAX
from p2p_aios.ledger.queries import (
    list_open_jobs,
    read_job,
    read_supply,
    read_worker,
)
from p2p_aios.ledger.records import ComputeJob, JobIndex, JobStatus
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import JOB_INDEX, JOBS
from p2p_aios.ledger.workers import registered_workers
from p2p_aios.types.compute import (
    JobKind,
    JobReceipt,
    RegisterWorker,
    RetireWorker,
    SubmitJob,
    SubmitReceipt,
    input_digest,
)
from p2p_aios.types.event import (
    JobAssigned,
    JobRefunded,
    JobSettled,
    JobSubmitted,
    WorkerRegistered,
    WorkerRetired,
)
from p2p_aios.units import AIOS, Amount, Hash
from tests.ledger.world import ALICE, BOB, FEE, FUNDS, VALIDATORS, WORKERS, World, cid

PAYMENT = Amount(2 * AIOS)
ORDER = SubmitJob(
    JobKind.EVALUATE, (cid("model"), cid("shard")), cbor.encode([1, 2]), PAYMENT, window_blocks=3
)
BY_ADDRESS = {worker.address: worker for worker in WORKERS}


def offer(capacity: int = 1, *kinds: JobKind) -> RegisterWorker:
    return RegisterWorker(VALIDATORS[0].address, capacity, kinds or (JobKind.EVALUATE,))


def submitted(workers: int = 3) -> tuple[World, Hash]:
    """A world with a job submitted and not yet assigned."""
    world = World()
    for worker in WORKERS[:workers]:
        world.do((worker, offer()))
    return world, world.last_id(ALICE, ORDER)


def job_of(world: World, id: Hash) -> ComputeJob:
    job = read_job(world.state, id)
    assert job is not None
    return job


def receipt_for(job: ComputeJob, **changes: object) -> SubmitReceipt:
    receipt = JobReceipt(
        job.id,
        job.nonce,
        code=Hash(b"c" * 32),
        input=input_digest(job.order.inputs, job.order.arguments),
        environment=Hash(b"e" * 32),
        output=cid("output"),
        units=10,
    )
    return SubmitReceipt(replace(receipt, **changes))  # type: ignore[arg-type]


def test_registering_enters_an_offer_and_again_changes_it() -> None:
    world = World()
    assert world.do((WORKERS[0], offer())) == ("ok",)
    assert world.found(WorkerRegistered) == [
        WorkerRegistered(WORKERS[0].address, VALIDATORS[0].address)
    ]
    world.do((WORKERS[0], offer(5, JobKind.TRAIN, JobKind.AGGREGATE)))
    (worker,) = registered_workers(State(world.state))
    assert (worker.capacity, worker.kinds) == (5, (JobKind.TRAIN, JobKind.AGGREGATE))


def test_malformed_offers_are_refused() -> None:
    world = World()
    unordered = offer(1, JobKind.EVALUATE, JobKind.TRAIN)
    repeated = offer(1, JobKind.TRAIN, JobKind.TRAIN)
    homeless = replace(offer(), home=ALICE.address)
    assert world.do((WORKERS[0], unordered)) == ("kinds_malformed",)
    assert world.do((WORKERS[0], repeated)) == ("kinds_malformed",)
    assert world.do((WORKERS[0], homeless)) == ("unknown_validator",)
    assert not registered_workers(State(world.state))


def test_registered_workers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p_aios.ledger.workers.WORKERS_MAX", 1)
    world = World()
    assert world.do((WORKERS[0], offer()), (WORKERS[1], offer())) == ("ok", "too_many_workers")
    assert world.do((WORKERS[0], offer(2))) == ("ok",)


def test_retiring_withdraws_the_offer() -> None:
    world = World()
    world.do((WORKERS[0], offer()))
    assert world.do((WORKERS[0], RetireWorker())) == ("ok",)
    assert world.found(WorkerRetired) == [WorkerRetired(WORKERS[0].address)]
    assert world.do((WORKERS[0], RetireWorker())) == ("not_a_worker",)
    assert world.do((ALICE, RetireWorker())) == ("not_a_worker",)
    world.last_id(ALICE, ORDER)
    world.block()
    assert world.found(JobAssigned) == []


def test_a_job_escrows_its_payment_and_the_next_block_assigns_it() -> None:
    world, job = submitted()
    assert world.found(JobSubmitted) == [JobSubmitted(job, ALICE.address)]
    assert world.found(JobAssigned) == []
    assert read_supply(world.state).escrow == PAYMENT
    world.block()
    (assigned,) = world.found(JobAssigned)
    assert (assigned.job, assigned.nonce, assigned.deadline) == (job, 0, world.height + 3)
    worker = read_worker(world.state, assigned.worker)
    assert worker is not None
    assert worker.held == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"window_blocks": 1201}, "window_too_long"),
        ({"inputs": (bytes(36),)}, "cid_malformed"),
        ({"arguments": b"\xff"}, "arguments_malformed"),
        ({"arguments": b"\x18\x01"}, "arguments_malformed"),
        ({"arguments": b"\x9f\x18\x01\xff\xc2"}, "arguments_malformed"),
        ({"payment": FUNDS}, "funds_insufficient"),
    ],
)
def test_a_malformed_job_is_refused(changes: dict[str, object], code: str) -> None:
    world = World()
    assert world.do((ALICE, replace(ORDER, **changes))) == (code,)  # type: ignore[arg-type]
    assert world.balance(ALICE.address) == FUNDS - FEE


def test_waiting_jobs_are_read_no_further_than_workers_are_free() -> None:
    """A full queue holds megabytes; while everybody is busy no block reads them."""
    world = World()
    world.do((WORKERS[0], RegisterWorker(VALIDATORS[0].address, 2, (JobKind.EVALUATE,))))
    for _ in range(6):
        world.last_id(ALICE, replace(ORDER, window_blocks=50))
    read: list[bytes] = []

    class Reader:
        def get(self, key: bytes) -> bytes | None:
            read.append(key)
            return world.state.get(key)

    index = read_index(world)
    assert (len(index.waiting), len(index.assigned)) == (4, 2)
    execute_block(Reader(), world.context(), [])
    assert read
    assert not [key for key in read if key[:1] == JOBS.prefix]


def read_index(world: World) -> JobIndex:
    return JOB_INDEX.decode(world.state[JOB_INDEX.prefix])


def test_open_jobs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p_aios.ledger.jobs.JOBS_OPEN_MAX", 1)
    assert World().do((ALICE, ORDER), (BOB, ORDER)) == ("ok", "too_many_jobs")


def test_the_assigned_workers_receipt_is_paid() -> None:
    world, id = submitted()
    world.block()
    job = job_of(world, id)
    assert job.worker is not None
    worker = BY_ADDRESS[job.worker]
    before = world.balance(worker.address)
    assert world.do((worker, receipt_for(job))) == ("ok",)
    assert world.found(JobSettled) == [JobSettled(id, worker.address, cid("output"), PAYMENT)]
    assert world.balance(worker.address) == before + PAYMENT - FEE
    settled = job_of(world, id)
    assert (settled.status, settled.escrow) == (JobStatus.SETTLED, 0)
    assert settled.receipt == receipt_for(job).receipt
    record = read_worker(world.state, worker.address)
    assert record is not None
    assert record.held == 0
    assert list_open_jobs(world.state) == ()


def test_receipts_that_do_not_settle_are_refused() -> None:
    world, id = submitted()
    waiting = receipt_for(job_of(world, id))
    assert world.do((WORKERS[0], replace_job(waiting, bytes(32)))) == ("unknown_job",)
    world, id = submitted(workers=0)
    assert world.do((WORKERS[0], receipt_for(job_of(world, id)))) == ("receipt_wrong_nonce",)
    world, id = submitted()
    world.block()
    job = job_of(world, id)
    assert job.worker is not None
    worker = BY_ADDRESS[job.worker]
    other = next(w for w in WORKERS if w.address != job.worker)
    assert world.do((other, receipt_for(job))) == ("receipt_wrong_worker",)
    pairs = [
        ({"nonce": 1}, "receipt_wrong_nonce"),
        ({"input": Hash(bytes(32))}, "receipt_wrong_input"),
    ]
    for changes, code in pairs:
        assert world.do((worker, receipt_for(job, **changes))) == (code,)


def replace_job(action: SubmitReceipt, job: bytes) -> SubmitReceipt:
    return SubmitReceipt(replace(action.receipt, job=Hash(job)))


def test_an_output_that_is_no_cid_is_refused() -> None:
    world, id = submitted()
    world.block()
    job = job_of(world, id)
    assert job.worker is not None
    action = receipt_for(job, output=bytes(36))
    assert world.do((BY_ADDRESS[job.worker], action)) == ("cid_malformed",)


def test_a_receipt_settles_once() -> None:
    world, id = submitted()
    world.block()
    job = job_of(world, id)
    assert job.worker is not None
    world.do((BY_ADDRESS[job.worker], receipt_for(job)))
    assert world.do((BY_ADDRESS[job.worker], receipt_for(job))) == ("job_closed",)


def test_a_missed_deadline_draws_somebody_else() -> None:
    world, id = submitted()
    world.block()
    first = job_of(world, id)
    assert first.worker is not None
    world.blocks(4)
    (assigned,) = world.found(JobAssigned)
    assert assigned.nonce == 1
    assert assigned.worker != first.worker
    late = receipt_for(first)
    assert world.do((BY_ADDRESS[first.worker], late)) == ("receipt_late",)
    idle = read_worker(world.state, first.worker)
    assert idle is not None
    assert idle.held == 0


def test_who_missed_a_deadline_is_not_drawn_again_while_others_are_free() -> None:
    world = World()
    for worker in WORKERS[:2]:
        world.do((worker, offer(64)))
    world.block(*(world.transaction(ALICE, ORDER, nonce=nonce) for nonce in range(12)))
    world.block()
    first = {event.job: event.worker for event in world.found(JobAssigned)}
    world.blocks(4)
    second = {event.job: event.worker for event in world.found(JobAssigned)}
    assert first.keys() == second.keys()
    assert all(first[job] != second[job] for job in first)


def test_a_retired_worker_is_kept_until_its_job_is_done() -> None:
    world = World()
    world.do((WORKERS[0], offer()))
    id = world.last_id(ALICE, replace(ORDER, window_blocks=20))
    world.do((WORKERS[0], RetireWorker()))
    world.blocks(world.params.epoch_blocks - world.height)
    assert world.do((WORKERS[0], receipt_for(job_of(world, id)))) == ("ok",)
    world.blocks(world.params.epoch_blocks)
    assert read_worker(world.state, WORKERS[0].address) is None


def test_a_receipt_at_its_deadline_counts() -> None:
    world, id = submitted()
    world.block()
    job = job_of(world, id)
    assert job.worker is not None
    world.blocks(2)
    assert world.height + 1 == job.deadline
    assert world.do((BY_ADDRESS[job.worker], receipt_for(job))) == ("ok",)


def test_after_two_reassignments_the_payment_goes_back() -> None:
    world, id = submitted(workers=1)
    events = world.blocks(13)
    assert [e.nonce for e in events if isinstance(e, JobAssigned)] == [0, 1, 2]
    assert JobRefunded(id, "deadline_missed") in events
    assert world.balance(ALICE.address) == FUNDS - FEE
    assert job_of(world, id).status is JobStatus.REFUNDED
    assert job_of(world, id).code == "deadline_missed"
    assert world.do((WORKERS[0], receipt_for(job_of(world, id)))) == ("job_closed",)


def test_a_job_that_finds_no_worker_is_refunded() -> None:
    world, id = submitted(workers=0)
    world.audit_each_block = False
    assert not any(isinstance(event, JobRefunded) for event in world.blocks(WAIT_BLOCKS_MAX))
    world.block()
    assert world.found(JobRefunded) == [JobRefunded(id, "no_worker")]
    assert job_of(world, id).status is JobStatus.REFUNDED
    assert job_of(world, id).code == "no_worker"
    assert world.balance(ALICE.address) == FUNDS - FEE


def test_capacity_bounds_the_jobs_a_worker_holds() -> None:
    world = World()
    world.do((WORKERS[0], offer(2)))
    world.block(*(world.transaction(ALICE, ORDER, nonce=nonce) for nonce in range(3)))
    world.block()
    statuses = sorted(job.status for job in list_open_jobs(world.state))
    assert statuses == [JobStatus.WAITING, JobStatus.ASSIGNED, JobStatus.ASSIGNED]
    worker = read_worker(world.state, WORKERS[0].address)
    assert worker is not None
    assert worker.held == 2


def test_jobs_go_only_to_workers_of_their_kind() -> None:
    world = World()
    world.do((WORKERS[0], offer(1, JobKind.TRAIN)), (WORKERS[1], offer(1, JobKind.AGGREGATE)))
    id = world.last_id(ALICE, replace(ORDER, kind=JobKind.AGGREGATE))
    world.block()
    assert job_of(world, id).worker == WORKERS[1].address


def test_assignments_of_one_block_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p_aios.ledger.assignment.ASSIGNMENTS_PER_BLOCK_MAX", 2)
    world = World()
    world.do((WORKERS[0], offer(8)))
    world.do((ALICE, ORDER), (BOB, ORDER), (WORKERS[1], ORDER))
    world.block()
    assert len(world.found(JobAssigned)) == 2
    world.block()
    assert len(world.found(JobAssigned)) == 1


def test_every_free_worker_can_be_drawn() -> None:
    drawn = set()
    world = World()
    for worker in WORKERS:
        world.do((worker, offer(64)))
    for _ in range(12):
        world.block(world.transaction(ALICE, ORDER))
        drawn.update(event.worker for event in world.found(JobAssigned))
    assert drawn == set(BY_ADDRESS)
