"""`worker.*` and `job.*`: contributors and the jobs they run."""

from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.limits import Range
from p2p_aios.errors import Invalid
from p2p_aios.rpc.methods.transaction import SubmitTransaction, submit_action
from p2p_aios.rpc.registry import NoParameters, Service, method
from p2p_aios.types.compute import JobId, SubmitJob
from p2p_aios.types.views import PAGE_MAX, Jobs, JobView, Workers, WorkerView
from p2p_aios.units import Height


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


@method("worker.list", NoParameters, Workers)
async def list_workers(service: Service, _: NoParameters) -> tuple[WorkerView, ...]:
    """Registered contributors."""
    return await service.backend.workers()


@method("job.submit", SubmitTransaction, JobId, changes_state=True)
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
    """Jobs, a page at a time."""
    return await service.backend.jobs(asked.after, asked.limit)


METHODS: Final = (list_workers, submit_job, get_job, list_jobs)
