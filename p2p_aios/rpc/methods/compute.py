"""`worker.*` and `job.*`: contributors and the jobs they run."""

from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.limits import Range
from p2p_aios.errors import Invalid
from p2p_aios.rpc.methods.transaction import SubmitTransaction, check_ahead, submit_action
from p2p_aios.rpc.registry import Service, method
from p2p_aios.types.compute import JobId, SubmitJob
from p2p_aios.types.views import LISTING_MAX, PAGE_MAX, Jobs, JobView, Workers, WorkerView
from p2p_aios.units import Address, Height


@dataclass(frozen=True, slots=True)
class ListWorkers:
    after: Address | None = None
    """Last address of the page before."""
    limit: Annotated[int, Range(1, LISTING_MAX)] = LISTING_MAX
    height: Height | None = None
    """State after this block; none: the latest."""


@dataclass(frozen=True, slots=True)
class GetJob:
    id: JobId
    height: Height | None = None
    """State after this block; none: the latest."""


@dataclass(frozen=True, slots=True)
class ListJobs:
    after: JobId | None = None
    """Last id of the page before."""
    limit: Annotated[int, Range(1, PAGE_MAX)] = PAGE_MAX
    closed: bool = False
    """Settled and refunded ones instead; of the latest state only."""
    height: Height | None = None
    """State after this block; none: the latest."""


@method("worker.list", ListWorkers, Workers)
async def list_workers(service: Service, asked: ListWorkers) -> tuple[WorkerView, ...]:
    """Registered contributors, by address."""
    return await service.backend.workers(asked.after, asked.limit, asked.height)


@method("job.submit", SubmitTransaction, JobId, changes_state=True, prepare=check_ahead)
async def submit_job(service: Service, asked: SubmitTransaction) -> JobId:
    """Submit a signed SubmitJob; the job's id."""
    return await submit_action(service, asked.raw, SubmitJob)


@method("job.get", GetJob, JobView)
async def get_job(service: Service, asked: GetJob) -> JobView:
    """A job, who holds it and what came of it."""
    job = await service.backend.job(asked.id, asked.height)
    if job is None:
        raise Invalid("unknown_job", f"no job {asked.id.hex()} in finalized state")
    return job


@method("job.list", ListJobs, Jobs)
async def list_jobs(service: Service, asked: ListJobs) -> tuple[JobView, ...]:
    """Jobs that wait or are assigned, or all that are over, by id."""
    if not asked.closed:
        return await service.backend.jobs(asked.after, asked.limit, asked.height)
    if asked.height is not None:
        raise Invalid(
            "params_invalid", "closed jobs have no index to read at a height; ask job.get for each"
        )
    return await service.backend.closed_jobs(asked.after, asked.limit)


METHODS: Final = (list_workers, submit_job, get_job, list_jobs)
