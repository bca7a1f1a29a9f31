"""Learning deadlines, handled at each block's start before any transaction.

A block advances a bounded number of tasks, those due longest first. Where more are due, the rest
stay open a block longer, and what is submitted to them until then still counts.
"""

from typing import Final, assert_never

from p2p_aios.errors import invariant
from p2p_aios.ledger.attestation import close_attest
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import LearningTask, RoundPhase, TaskStatus
from p2p_aios.ledger.rounds import close_commit, close_reveal
from p2p_aios.ledger.schedule import overdue
from p2p_aios.ledger.tables import ROUNDS, TASK_INDEX, TASKS, round_key
from p2p_aios.ledger.tasks import try_round

TASKS_PER_BLOCK_MAX: Final = 32
"""Tasks advanced at one block's start; each may touch every seat of a round."""


def advance_tasks(env: Environment) -> None:
    """Open what waits, close what is overdue; each task takes at most one step a block."""
    due_now = overdue(env.state.require(TASK_INDEX).open, env.context.height)
    for due in due_now[:TASKS_PER_BLOCK_MAX]:
        task = env.state.require(TASKS, due.id)
        if task.status is TaskStatus.WAITING:
            try_round(env, task)
        else:
            _close_phase(env, task)


def _close_phase(env: Environment, task: LearningTask) -> None:
    learning_round = env.state.require(ROUNDS, round_key(task.id, task.round))
    match learning_round.phase:
        case RoundPhase.COMMIT:
            close_commit(env, task, learning_round)
        case RoundPhase.REVEAL:
            close_reveal(env, task, learning_round)
        case RoundPhase.ATTEST:
            close_attest(env, task, learning_round)
        case RoundPhase.SETTLED | RoundPhase.VOIDED:
            invariant(False, "a task's running round is open")
        case other:
            assert_never(other)
