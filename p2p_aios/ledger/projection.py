"""Answers for clients, derived from the state alone.

A node computes them from its own state, a checking client from records that it has had proven to
it: the same functions, so that the two agree on all that they say.

`project_…` take a state and read what they need; `view_…` turn one record into its view.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final, TypeVar

from p2p_aios.ledger.environment import epoch_of
from p2p_aios.ledger.queries import (
    read_chain,
    read_committee,
    read_job,
    read_round,
    read_supply,
    read_task,
)
from p2p_aios.ledger.records import (
    ComputeJob,
    JobStatus,
    LearningRound,
    LearningTask,
    RoundPhase,
    TaskStatus,
    Validator,
    Worker,
)
from p2p_aios.ledger.state import State, StateReader
from p2p_aios.ledger.tables import (
    JOB_INDEX,
    JOBS,
    TASK_INDEX,
    TASKS,
    VALIDATOR_INDEX,
    VALIDATORS,
    WORKER_INDEX,
    WORKERS,
)
from p2p_aios.params import Params
from p2p_aios.types.committee import Committee
from p2p_aios.types.compute import JobId
from p2p_aios.types.learning import Round, Score, TaskId
from p2p_aios.types.views import (
    JobState,
    JobView,
    Phase,
    RoundView,
    SeatView,
    SupplyView,
    TaskView,
    ValidatorView,
    WorkerView,
)
from p2p_aios.units import Address, Amount, Epoch

Key = TypeVar("Key", bound=bytes)

SCORE_ROUNDS_MAX: Final = 64
"""Rounds looked back for a score: a task may have thousands, and clients ask for many tasks."""

_PHASES = {
    RoundPhase.COMMIT: Phase.COMMIT,
    RoundPhase.REVEAL: Phase.REVEAL,
    RoundPhase.ATTEST: Phase.ATTEST,
    RoundPhase.SETTLED: Phase.SETTLED,
    RoundPhase.VOIDED: Phase.VOIDED,
}
_JOB_STATES = {
    JobStatus.WAITING: JobState.QUEUED,
    JobStatus.ASSIGNED: JobState.ASSIGNED,
    JobStatus.SETTLED: JobState.SETTLED,
    JobStatus.REFUNDED: JobState.REFUNDED,
}


def project_supply(reader: StateReader) -> SupplyView:
    supply = read_supply(reader)
    return SupplyView(
        height=read_chain(reader).height,
        dormant_sat=supply.dormant_sat,
        target=Amount(supply.target),
        circulating=Amount(supply.circulating),
        reserve=supply.reserve,
        burn_debt=supply.burn_debt,
        treasury=supply.treasury,
        escrowed=Amount(supply.escrow + supply.bonds),
        block_reward=supply.reward,
        pool=Amount(supply.accrued + supply.fees),
        is_balanced=supply.is_balanced(),
    )


def project_committee(reader: StateReader, params: Params, epoch: Epoch | None) -> Committee | None:
    """Of an epoch, by default of the state's own; None where not fixed yet, or forgotten."""
    own = epoch_of(read_chain(reader).height, params)
    return read_committee(reader, own if epoch is None else epoch)


def project_validators(
    reader: StateReader, params: Params, after: Address | None, limit: int
) -> tuple[ValidatorView, ...]:
    """Those after `after`, ascending by address; seats are of the state's own epoch."""
    state = State(reader)
    committee = project_committee(reader, params, None)
    page = _page(state.require(VALIDATOR_INDEX).addresses, after, limit)
    return tuple(view_validator(state.require(VALIDATORS, each), committee) for each in page)


def project_workers(
    reader: StateReader, after: Address | None, limit: int
) -> tuple[WorkerView, ...]:
    """Those after `after`, ascending by address; the retired ones of the open epoch, too."""
    state = State(reader)
    page = _page(state.require(WORKER_INDEX).addresses, after, limit)
    return tuple(view_worker(state.require(WORKERS, address)) for address in page)


def project_job(reader: StateReader, id: JobId) -> JobView | None:
    job = read_job(reader, id)
    return None if job is None else view_job(job)


def project_open_jobs(reader: StateReader, after: JobId | None, limit: int) -> tuple[JobView, ...]:
    """Jobs that wait or are assigned, ascending by id, those after `after`."""
    state = State(reader)
    index = state.require(JOB_INDEX)
    ids = sorted(due.id for due in (*index.waiting, *index.assigned))
    return tuple(view_job(state.require(JOBS, id)) for id in _page(ids, after, limit))


def project_task(reader: StateReader, id: TaskId) -> TaskView | None:
    task = read_task(reader, id)
    return None if task is None else _view_task(reader, task)


def project_tasks(reader: StateReader, after: TaskId | None, limit: int) -> tuple[TaskView, ...]:
    """Open tasks and those that finished last, ascending by id, those after `after`."""
    state = State(reader)
    index = state.require(TASK_INDEX)
    ids = sorted((*(due.id for due in index.open), *index.recent))
    page = _page(ids, after, limit)
    return tuple(_view_task(reader, state.require(TASKS, id)) for id in page)


def project_round(reader: StateReader, task: TaskId, number: Round) -> RoundView | None:
    round_ = read_round(reader, task, number)
    return None if round_ is None else view_round(round_)


def project_rounds(
    reader: StateReader, task: TaskId, first: Round, limit: int
) -> tuple[RoundView, ...] | None:
    """Rounds `first` and on, ascending; None where there is no such task."""
    known = read_task(reader, task)
    if known is None:
        return None
    numbers = range(first, min(first + limit, known.round + 1))
    views = (project_round(reader, task, number) for number in numbers)
    return tuple(view for view in views if view is not None)


def view_validator(validator: Validator, committee: Committee | None) -> ValidatorView:
    members = () if committee is None else committee.members
    seats = {member.address: seat for seat, member in enumerate(members)}
    seat = seats.get(validator.address)
    return ValidatorView(
        address=validator.address,
        owner=validator.owner,
        public_key=validator.public_key,
        peer_id=validator.peer_id,
        seat=seat,
        weight=0 if seat is None else members[seat].weight,
        blocks=validator.proposed,
        wrong_attestations=validator.wrong_attestations,
    )


def view_worker(worker: Worker) -> WorkerView:
    return WorkerView(
        address=worker.address,
        home=worker.home,
        capacity=worker.capacity,
        held=worker.held,
        kinds=worker.kinds,
        is_retired=not worker.kinds,
    )


def view_job(job: ComputeJob) -> JobView:
    is_assigned = job.status is JobStatus.ASSIGNED
    return JobView(
        id=job.id,
        submitter=job.submitter,
        specification=job.order,
        state=_JOB_STATES[job.status],
        nonce=job.nonce,
        worker=job.worker,
        deadline=job.deadline if is_assigned else None,
        receipt=job.receipt,
        code=job.code,
    )


def view_round(round_: LearningRound) -> RoundView:
    settled = round_.settled
    is_closed = round_.phase in (RoundPhase.SETTLED, RoundPhase.VOIDED)
    return RoundView(
        task=round_.task,
        round=round_.number,
        phase=_PHASES[round_.phase],
        base=round_.base,
        seats=tuple(
            SeatView(seat.worker, seat.commitment is not None, seat.update, seat.verdict)
            for seat in round_.seats
        ),
        deadline=None if is_closed else round_.deadline,
        attested=round_.heard,
        aggregate=None if settled is None else settled.aggregate,
        score=None if settled is None else settled.score,
        paid=round_.paid,
        code=round_.code,
        opened=round_.opened,
        closed=round_.deadline if is_closed else None,
    )


def _view_task(reader: StateReader, task: LearningTask) -> TaskView:
    round_ = read_round(reader, task.id, task.round)
    return TaskView(
        id=task.id,
        submitter=task.submitter,
        specification=task.spec,
        round=task.round,
        phase=Phase.OPEN if round_ is None else _PHASES[round_.phase],
        is_finished=task.status is TaskStatus.FINISHED,
        model=task.model,
        score=_last_score(reader, task),
        remaining=task.escrow,
    )


def _last_score(reader: StateReader, task: LearningTask) -> Score | None:
    """Of the latest settled round, whose aggregate `task.model` is; None where the last
    SCORE_ROUNDS_MAX were all voided."""
    for number in range(task.round, max(-1, task.round - SCORE_ROUNDS_MAX), -1):
        round_ = read_round(reader, task.id, Round(number))
        if round_ is not None and round_.phase is RoundPhase.SETTLED and round_.settled:
            return round_.settled.score
    return None


def _page(ascending: Sequence[Key], after: Key | None, limit: int) -> Sequence[Key]:
    first = 0 if after is None else bisect_right(ascending, after)
    return ascending[first : first + limit]
