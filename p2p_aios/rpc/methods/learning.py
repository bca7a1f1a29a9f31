"""`learn.*`: learning tasks and their rounds."""

from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.limits import Range
from p2p_aios.errors import Invalid
from p2p_aios.rpc.methods.transaction import SubmitTransaction, check_ahead, submit_action
from p2p_aios.rpc.registry import Service, method
from p2p_aios.types.learning import Round, SubmitTask, TaskId
from p2p_aios.types.views import PAGE_MAX, Rounds, RoundView, Tasks, TaskView
from p2p_aios.units import Height

PageLimit = Annotated[int, Range(1, PAGE_MAX)]


@dataclass(frozen=True, slots=True)
class GetTask:
    id: TaskId
    height: Height | None = None
    """State after this block; none: the latest."""


@dataclass(frozen=True, slots=True)
class ListTasks:
    after: TaskId | None = None
    """Last id of the page before."""
    limit: PageLimit = PAGE_MAX
    height: Height | None = None
    """State after this block; none: the latest."""


@dataclass(frozen=True, slots=True)
class GetRound:
    task: TaskId
    round: Round
    height: Height | None = None
    """State after this block; none: the latest."""


@dataclass(frozen=True, slots=True)
class ListRounds:
    task: TaskId
    first: Round = 0
    limit: PageLimit = PAGE_MAX
    height: Height | None = None
    """State after this block; none: the latest."""


@method("learn.submit", SubmitTransaction, TaskId, changes_state=True, prepare=check_ahead)
async def submit_task(service: Service, asked: SubmitTransaction) -> TaskId:
    """Submit a signed SubmitTask; the task's id."""
    return await submit_action(service, asked.raw, SubmitTask)


@method("learn.get", GetTask, TaskView)
async def get_task(service: Service, asked: GetTask) -> TaskView:
    """A learning task and where it stands."""
    task = await service.backend.task(asked.id, asked.height)
    if task is None:
        raise _unknown(asked.id)
    return task


@method("learn.list", ListTasks, Tasks)
async def list_tasks(service: Service, asked: ListTasks) -> tuple[TaskView, ...]:
    """Learning tasks that run and the last that finished, by id."""
    return await service.backend.tasks(asked.after, asked.limit, asked.height)


@method("learn.round", GetRound, RoundView)
async def get_round(service: Service, asked: GetRound) -> RoundView:
    """One round: seats, updates, verdicts, aggregate and score."""
    found = await service.backend.round(asked.task, asked.round, asked.height)
    if found is None:
        raise Invalid("unknown_round", f"task {asked.task.hex()} has no round {asked.round} yet")
    return found


@method("learn.rounds", ListRounds, Rounds)
async def list_rounds(service: Service, asked: ListRounds) -> tuple[RoundView, ...]:
    """Rounds of a task, from `first` on."""
    rounds = await service.backend.rounds(asked.task, asked.first, asked.limit, asked.height)
    if rounds is None:
        raise _unknown(asked.task)
    return rounds


def _unknown(id: TaskId) -> Invalid:
    return Invalid("unknown_task", f"no learning task {id.hex()} in finalized state")


METHODS: Final = (submit_task, get_task, list_tasks, get_round, list_rounds)
