"""Who runs which job: missed deadlines and the draw of workers, at each block's start.

The draw uses the mix of its own block, over jobs and offers fixed in earlier ones.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from p2p_aios.ledger.draw import draw_distinct, draw_seed
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.jobs import (
    REASSIGNMENTS_MAX,
    WAIT_BLOCKS_MAX,
    await_worker,
    free_worker,
    refund_job,
)
from p2p_aios.ledger.records import ComputeJob, Due, JobIndex, JobStatus
from p2p_aios.ledger.schedule import overdue, with_due, without_due
from p2p_aios.ledger.tables import CHAIN, JOB_INDEX, JOBS, WORKERS
from p2p_aios.ledger.workers import registered_workers
from p2p_aios.types.compute import JobKind
from p2p_aios.types.event import JobAssigned
from p2p_aios.units import Address, Height

ASSIGNMENTS_PER_BLOCK_MAX: Final = 64
"""Jobs assigned at one block's start."""
OVERDUE_PER_BLOCK_MAX: Final = 64
"""Missed deadlines, and vain waits, handled at one block's start, longest due first."""

FreePlaces = dict[JobKind, dict[Address, int]]
"""Per kind: workers that offer it and how many more jobs each may hold, at least one."""


def advance_jobs(env: Environment) -> None:
    """At block start: take back what is overdue, refund what nobody takes, draw workers."""
    state, height = env.state, env.context.height
    for due in overdue(state.require(JOB_INDEX).assigned, height)[:OVERDUE_PER_BLOCK_MAX]:
        _miss_deadline(env, state.require(JOBS, due.id))
    for due in overdue(state.require(JOB_INDEX).waiting, height)[:OVERDUE_PER_BLOCK_MAX]:
        refund_job(env, state.require(JOBS, due.id), "no_worker")
    waiting = state.require(JOB_INDEX).waiting
    if waiting:
        _assign(env, waiting)


def _miss_deadline(env: Environment, job: ComputeJob) -> None:
    if job.worker is not None:
        free_worker(env.state, job.worker)
    if job.nonce >= REASSIGNMENTS_MAX:
        refund_job(env, job, "deadline_missed")
        return
    until = Height(env.context.height + WAIT_BLOCKS_MAX)
    again = replace(job, status=JobStatus.WAITING, nonce=job.nonce + 1, deadline=until)
    await_worker(env.state, again)


def _assign(env: Environment, waiting: Sequence[Due]) -> None:
    free, assigned = _free_places(env), 0
    for due in waiting:
        # A queue of large jobs takes long to read: no further than there is somebody to take them.
        if assigned == ASSIGNMENTS_PER_BLOCK_MAX or not free:
            return
        job = env.state.require(JOBS, due.id)
        candidates = list(free.get(job.order.kind, ()))
        if not candidates:
            continue
        # Somebody else gets the next try, where there is somebody else.
        others = [address for address in candidates if address != job.worker]
        worker = _draw_worker(env, job, others or candidates)
        _take_place(free, worker)
        _hand_over(env, job, worker)
        assigned += 1


def _take_place(free: FreePlaces, worker: Address) -> None:
    """The worker holds one more job, of whatever kind; who is full is free for none."""
    for kind in list(free):
        places = free[kind]
        if worker not in places:
            continue
        places[worker] -= 1
        if not places[worker]:
            del places[worker]
        if not places:
            del free[kind]


def _draw_worker(env: Environment, job: ComputeJob, candidates: list[Address]) -> Address:
    mix = env.state.require(CHAIN).mix
    seed = draw_seed("job", mix, job.id + job.nonce.to_bytes(8, "big"))
    return draw_distinct(seed, candidates, 1)[0]


def _hand_over(env: Environment, job: ComputeJob, address: Address) -> None:
    state, deadline = env.state, Height(env.context.height + job.order.window_blocks)
    worker = state.require(WORKERS, address)
    state.put(WORKERS, address, replace(worker, held=worker.held + 1))
    index = state.require(JOB_INDEX)
    moved = JobIndex(without_due(index.waiting, job.id), with_due(index.assigned, job.id, deadline))
    state.put(JOB_INDEX, b"", moved)
    held = replace(job, status=JobStatus.ASSIGNED, worker=address, deadline=deadline)
    state.put(JOBS, job.id, held)
    env.events.append(JobAssigned(job.id, job.nonce, address, deadline))


def _free_places(env: Environment) -> FreePlaces:
    free: FreePlaces = {}
    for worker in registered_workers(env.state):
        if worker.held < worker.capacity:
            for kind in worker.kinds:
                free.setdefault(kind, {})[worker.address] = worker.capacity - worker.held
    return free
