"""What this node owes the chain's jobs and learning rounds, read off the state.

Duties are recomputed from the finalized state after every block instead of being remembered from
events: whatever was interrupted — by a restart, a lost gateway, a dropped transaction — is simply
due again.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from p2p_aios.ledger.queries import (
    list_open_jobs,
    list_tasks,
    read_committee,
    read_round,
    read_worker,
)
from p2p_aios.ledger.records import (
    ComputeJob,
    JobStatus,
    LearningRound,
    LearningTask,
    RoundPhase,
    TaskStatus,
)
from p2p_aios.ledger.state import StateReader
from p2p_aios.types.compute import JobId
from p2p_aios.types.learning import Round, TaskId
from p2p_aios.units import Address


@dataclass(frozen=True, slots=True)
class TrainDuty:
    """Have one of our contributors train and commit."""

    task: TaskId
    round: Round
    worker: Address


@dataclass(frozen=True, slots=True)
class RevealDuty:
    """Have it open its commitment."""

    task: TaskId
    round: Round
    worker: Address


@dataclass(frozen=True, slots=True)
class AttestDuty:
    """Recompute the round as a member of its panel."""

    task: TaskId
    round: Round


@dataclass(frozen=True, slots=True)
class JobDuty:
    """Have one of our contributors run a job it was drawn for."""

    job: JobId
    assignment: int
    worker: Address


Duty = TrainDuty | RevealDuty | AttestDuty | JobDuty


def duties(state: StateReader, validator: Address) -> tuple[Duty, ...]:
    """Everything due now from the node of `validator`: for its own seat, and for the contributors
    that named it as their home."""
    found: list[Duty] = []
    for task in list_tasks(state):
        if task.status is not TaskStatus.RUNNING:
            continue
        round_ = read_round(state, task.id, task.round)
        if round_ is not None:
            found.extend(_round_duties(state, validator, task, round_))
    for job in list_open_jobs(state):
        found.extend(_job_duties(state, validator, job))
    return tuple(found)


def _round_duties(
    state: StateReader, validator: Address, task: LearningTask, round_: LearningRound
) -> Iterator[Duty]:
    match round_.phase:
        case RoundPhase.COMMIT:
            for seat in round_.seats:
                if seat.commitment is None and _is_home(state, validator, seat.worker):
                    yield TrainDuty(task.id, round_.number, seat.worker)
        case RoundPhase.REVEAL:
            for seat in round_.seats:
                is_due = seat.commitment is not None and seat.update is None
                if is_due and _is_home(state, validator, seat.worker):
                    yield RevealDuty(task.id, round_.number, seat.worker)
        case RoundPhase.ATTEST:
            if validator not in round_.heard and _is_seated(state, validator, round_):
                yield AttestDuty(task.id, round_.number)


def _job_duties(state: StateReader, validator: Address, job: ComputeJob) -> Iterator[Duty]:
    worker = job.worker if job.status is JobStatus.ASSIGNED else None
    if worker is not None and _is_home(state, validator, worker):
        yield JobDuty(job.id, job.nonce, worker)


def _is_home(state: StateReader, validator: Address, worker: Address) -> bool:
    record = read_worker(state, worker)
    return record is not None and record.home == validator


def _is_seated(state: StateReader, validator: Address, round_: LearningRound) -> bool:
    committee = None if round_.panel is None else read_committee(state, round_.panel)
    return committee is not None and any(m.address == validator for m in committee.members)
