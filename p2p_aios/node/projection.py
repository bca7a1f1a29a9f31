"""Ledger records as the views that clients see."""

from typing import Final

from p2p_aios.ledger.queries import read_round
from p2p_aios.ledger.records import (
    ComputeJob,
    JobStatus,
    LearningRound,
    LearningTask,
    RoundPhase,
    Supply,
    TaskStatus,
    Validator,
    Worker,
)
from p2p_aios.ledger.state import StateReader
from p2p_aios.types.committee import Committee
from p2p_aios.types.learning import Round, Score
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
from p2p_aios.units import Amount, Height

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


def view_supply(supply: Supply, height: Height) -> SupplyView:
    return SupplyView(
        height=height,
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


def view_validator(validator: Validator, committee: Committee) -> ValidatorView:
    seats = {member.address: seat for seat, member in enumerate(committee.members)}
    seat = seats.get(validator.address)
    return ValidatorView(
        address=validator.address,
        owner=validator.owner,
        public_key=validator.public_key,
        peer_id=validator.peer_id,
        seat=seat,
        weight=0 if seat is None else committee.members[seat].weight,
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


def view_task(state: StateReader, task: LearningTask) -> TaskView:
    round_ = read_round(state, task.id, task.round)
    return TaskView(
        id=task.id,
        submitter=task.submitter,
        specification=task.spec,
        round=task.round,
        phase=Phase.OPEN if round_ is None else _PHASES[round_.phase],
        is_finished=task.status is TaskStatus.FINISHED,
        model=task.model,
        score=_last_score(state, task),
        remaining=task.escrow,
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


def _last_score(state: StateReader, task: LearningTask) -> Score | None:
    """Of the latest settled round, whose aggregate `task.model` is; None where the last
    SCORE_ROUNDS_MAX were all voided."""
    for number in range(task.round, max(-1, task.round - SCORE_ROUNDS_MAX), -1):
        round_ = read_round(state, task.id, Round(number))
        if round_ is not None and round_.phase is RoundPhase.SETTLED and round_.settled:
            return round_.settled.score
    return None
