"""Calls about what is computed: workers, jobs, learning tasks and their rounds.

Where checking, all of these are proven, and of listings that nothing is left out; but for
`jobs(is_closed=True)`, for the state has no list of the jobs that are over: each can be proven by
`job`, not that there are no others.
"""

from functools import partial

from p2p_aios.errors import Invalid
from p2p_aios.ledger.projection import (
    project_job,
    project_open_jobs,
    project_round,
    project_rounds,
    project_task,
    project_tasks,
    project_workers,
)
from p2p_aios.sdk.answers import hex_of, name_of
from p2p_aios.sdk.asking import Asking
from p2p_aios.types.views import (
    LISTING_MAX,
    PAGE_MAX,
    Jobs,
    JobView,
    Rounds,
    RoundView,
    Tasks,
    TaskView,
    Workers,
    WorkerView,
)
from p2p_aios.units import Address, Hash, Height


class WorkCalls(Asking):
    """`worker.*`, `job.*`, `learn.*`. Heights ask for the state after that block, not the last."""

    async def workers(
        self,
        after: Address | None = None,
        limit: int = LISTING_MAX,
        height: Height | None = None,
    ) -> tuple[WorkerView, ...]:
        """Registered contributors, by address."""
        if self._light is None:
            page = {"after": name_of(after), "limit": limit, "height": height}
            return await self._list(WorkerView, Workers, "worker.list", **page)
        return (await self._prove(partial(project_workers, after=after, limit=limit), height))[0]

    async def submit_job(self, raw: bytes) -> Hash:
        """Submit a transaction that carries SubmitJob; the job's id."""
        return await self._id("job.submit", raw=raw.hex())

    async def job(self, id: Hash, height: Height | None = None) -> JobView:
        """Raises Invalid(`unknown_job`)."""
        if self._light is None:
            return await self._ask(JobView, "job.get", id=id.hex(), height=height)
        job, _ = await self._prove(partial(project_job, id=id), height)
        if job is None:
            raise Invalid("unknown_job", f"it is proven that there is no job {id.hex()}")
        return job

    async def jobs(
        self,
        after: Hash | None = None,
        limit: int = PAGE_MAX,
        height: Height | None = None,
        *,
        is_closed: bool = False,
    ) -> tuple[JobView, ...]:
        """Open ones by id; where `is_closed`, those settled or refunded instead, as of now."""
        if self._light is None or is_closed:
            page = {"after": hex_of(after), "limit": limit, "closed": is_closed, "height": height}
            return await self._list(JobView, Jobs, "job.list", **page)
        return (await self._prove(partial(project_open_jobs, after=after, limit=limit), height))[0]

    async def submit_task(self, raw: bytes) -> Hash:
        """Submit a transaction that carries SubmitTask; the task's id."""
        return await self._id("learn.submit", raw=raw.hex())

    async def task(self, id: Hash, height: Height | None = None) -> TaskView:
        """Raises Invalid(`unknown_task`)."""
        if self._light is None:
            return await self._ask(TaskView, "learn.get", id=id.hex(), height=height)
        task, _ = await self._prove(partial(project_task, id=id), height)
        if task is None:
            raise _no_task(id)
        return task

    async def tasks(
        self, after: Hash | None = None, limit: int = PAGE_MAX, height: Height | None = None
    ) -> tuple[TaskView, ...]:
        """Those that run and the last that finished, by id."""
        if self._light is None:
            page = {"after": hex_of(after), "limit": limit, "height": height}
            return await self._list(TaskView, Tasks, "learn.list", **page)
        return (await self._prove(partial(project_tasks, after=after, limit=limit), height))[0]

    async def round(self, task: Hash, round: int, height: Height | None = None) -> RoundView:
        """Raises Invalid(`unknown_round`)."""
        if self._light is None:
            asked = {"task": task.hex(), "round": round, "height": height}
            return await self._ask(RoundView, "learn.round", **asked)
        found, _ = await self._prove(partial(project_round, task=task, number=round), height)
        if found is None:
            raise Invalid("unknown_round", f"it is proven that there is no round {round} yet")
        return found

    async def rounds(
        self, task: Hash, first: int = 0, limit: int = PAGE_MAX, height: Height | None = None
    ) -> tuple[RoundView, ...]:
        """Of a task, from round `first` on. Raises Invalid(`unknown_task`)."""
        if self._light is None:
            asked = {"task": task.hex(), "first": first, "limit": limit, "height": height}
            return await self._list(RoundView, Rounds, "learn.rounds", **asked)
        project = partial(project_rounds, task=task, first=first, limit=limit)
        found, _ = await self._prove(project, height)
        if found is None:
            raise _no_task(task)
        return found


def _no_task(id: Hash) -> Invalid:
    return Invalid("unknown_task", f"it is proven that there is no learning task {id.hex()}")
