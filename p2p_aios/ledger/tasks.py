"""Learning tasks (paper §4.1; DESIGN §9): submission, seats of each round, the task's end.

A task holds one round at a time. Every round, voided ones too, counts towards its number of
rounds, so a task ends. Rounds open at a block's start only: the draw uses the mix of its own
block, over offers and a moment fixed in earlier ones.
"""

from dataclasses import replace
from typing import Final

from p2p_aios.codec.cid import is_cid
from p2p_aios.errors import Invalid
from p2p_aios.ledger.accounts import pay_in, pay_out
from p2p_aios.ledger.draw import draw_distinct, draw_seed
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import (
    TASKS_OPEN_MAX,
    TASKS_RECENT_MAX,
    LearningRound,
    LearningTask,
    RoundPhase,
    RoundSeat,
    TaskIndex,
    TaskStatus,
)
from p2p_aios.ledger.schedule import with_due, without_due
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import CHAIN, ROUNDS, TASK_INDEX, TASKS, WORKERS, round_key
from p2p_aios.ledger.workers import registered_workers
from p2p_aios.params import Params
from p2p_aios.types.compute import JobKind
from p2p_aios.types.event import RoundOpened, RoundVoided, TaskFinished, TaskOpened
from p2p_aios.types.learning import (
    PARAMETER_BYTES,
    SubmitTask,
    TaskId,
    check_model,
    count_parameters,
)
from p2p_aios.units import Address, Amount, Cid, Height

RETRY_BLOCKS: Final = 4
"""Blocks between two tries to find enough workers for a round."""
WAIT_BLOCKS_MAX: Final = 240
"""Blocks a task waits for enough workers before it ends."""


def check_task(params: Params, task: SubmitTask) -> None:
    """Raises Invalid: `cid_malformed`, `task_malformed`, `window_too_long`, `window_too_short`,
    `model_malformed`, `model_too_large`."""
    if not (is_cid(task.base) and is_cid(task.test_shard)):
        raise Invalid("cid_malformed", "base and test_shard must be raw or dag-cbor CIDv1s")
    windows = (task.commit_blocks, task.reveal_blocks, task.attest_blocks)
    if max(windows) > params.window_blocks_max:
        raise Invalid("window_too_long", f"at most {params.window_blocks_max} blocks are allowed")
    if task.reveal_blocks < params.reveal_blocks_min:
        raise Invalid(
            "window_too_short", f"REVEAL takes {params.reveal_blocks_min} blocks at least"
        )
    if task.attest_blocks < params.attest_blocks_min:
        raise Invalid(
            "window_too_short", f"ATTEST takes {params.attest_blocks_min} blocks at least"
        )
    if task.rounds > params.task_rounds_max:
        raise Invalid("task_malformed", f"at most {params.task_rounds_max} rounds are allowed")
    if task.seats > params.task_seats_max:
        raise Invalid("task_malformed", f"at most {params.task_seats_max} seats are allowed")
    if task.updates_min > task.seats:
        raise Invalid("task_malformed", "updates_min exceeds the number of seats")
    check_model(task.model)
    if count_parameters(task.model) * PARAMETER_BYTES > params.blob_bytes_max:
        raise Invalid("model_too_large", "the model's parameters do not fit one blob")


def submit_task(env: Environment, sender: Address, id: TaskId, spec: SubmitTask) -> None:
    """Escrow the budget; the first round opens at the next block's start.

    Raises Invalid: those of `check_task`, `too_many_tasks`, `funds_insufficient`.
    """
    state, height = env.state, env.context.height
    check_task(env.context.params, spec)
    if len(state.require(TASK_INDEX).open) >= TASKS_OPEN_MAX:
        raise Invalid("too_many_tasks", f"{TASKS_OPEN_MAX} tasks are open; try later")
    pay_in(state, sender, "escrow", spec.budget)
    task = LearningTask(
        id,
        sender,
        submitted=height,
        spec=spec,
        status=TaskStatus.WAITING,
        round=0,
        model=spec.base,
        waiting_until=Height(height + WAIT_BLOCKS_MAX),
        escrow=spec.budget,
    )
    state.put(TASKS, id, task)
    # Due at once: the next block's mix, unknown to the submitter, draws the seats.
    set_due(state, id, height)
    env.events.append(TaskOpened(id, sender))


def try_round(env: Environment, task: LearningTask) -> None:
    """A WAITING task's next try: open its round, wait on, or end the task."""
    if _open_round(env, task):
        return
    if env.context.height > task.waiting_until:
        env.events.append(RoundVoided(task.id, task.round, "too_few_workers"))
        _finish(env, task)
    else:
        set_due(env.state, task.id, Height(env.context.height + RETRY_BLOCKS - 1))


def end_round(env: Environment, task: LearningTask, model: Cid) -> None:
    """The running round is closed and leaves `model`; the next one waits for the next block.

    `task` is the record as it should stand, escrow included.
    """
    closed = replace(task, model=model)
    if task.round + 1 == task.spec.rounds:
        _finish(env, closed)
        return
    until = Height(env.context.height + WAIT_BLOCKS_MAX)
    waiting = replace(closed, round=task.round + 1, status=TaskStatus.WAITING, waiting_until=until)
    env.state.put(TASKS, task.id, waiting)
    # Who lets the round close in this block knows this block's mix: the next one draws the seats.
    set_due(env.state, task.id, env.context.height)


def set_due(state: State, id: TaskId, height: Height) -> None:
    """Blocks beyond `height` must look at the task."""
    index = state.require(TASK_INDEX)
    state.put(TASK_INDEX, b"", TaskIndex(with_due(index.open, id, height), index.recent))


def leave_seats(state: State, learning_round: LearningRound) -> None:
    """The round closes: its workers no longer sit in it."""
    _change_seats(state, [seat.worker for seat in learning_round.seats], -1)


def _open_round(env: Environment, task: LearningTask) -> bool:
    state, spec, height = env.state, task.spec, env.context.height
    candidates = [
        worker.address for worker in registered_workers(state) if JobKind.TRAIN in worker.kinds
    ]
    if len(candidates) < spec.updates_min:
        return False
    seed = draw_seed("seats", state.require(CHAIN).mix, round_key(task.id, task.round))
    workers = draw_distinct(seed, candidates, spec.seats)
    deadline = Height(height + spec.commit_blocks)
    opened = LearningRound(
        task.id,
        task.round,
        RoundPhase.COMMIT,
        base=task.model,
        opened=height,
        deadline=deadline,
        seats=tuple(RoundSeat(worker, None, None, None) for worker in workers),
        bonds=Amount(0),
        panel=None,
        attestations=(),
        heard=(),
        settled=None,
        paid=Amount(0),
        code=None,
    )
    state.put(ROUNDS, round_key(task.id, task.round), opened)
    _change_seats(state, workers, 1)
    state.put(TASKS, task.id, replace(task, status=TaskStatus.RUNNING))
    set_due(state, task.id, deadline)
    env.events.append(RoundOpened(task.id, task.round, task.model, workers, deadline))
    return True


def _change_seats(state: State, workers: list[Address] | tuple[Address, ...], by: int) -> None:
    for address in workers:
        worker = state.require(WORKERS, address)
        state.put(WORKERS, address, replace(worker, seats=worker.seats + by))


def _finish(env: Environment, task: LearningTask) -> None:
    state = env.state
    pay_out(state, "escrow", task.submitter, task.escrow)
    state.put(TASKS, task.id, replace(task, status=TaskStatus.FINISHED, escrow=Amount(0)))
    index = state.require(TASK_INDEX)
    recent = (*index.recent, task.id)[-TASKS_RECENT_MAX:]
    state.put(TASK_INDEX, b"", TaskIndex(without_due(index.open, task.id), recent))
    env.events.append(TaskFinished(task.id, task.model, task.escrow))
