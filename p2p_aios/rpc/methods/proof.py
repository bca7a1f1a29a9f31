"""`state.proof` and `block.proof`: what a client can check for itself, given a committee."""

from dataclasses import dataclass
from typing import Final

from p2p_aios.errors import Invalid
from p2p_aios.ledger.tables import ACCOUNTS, ROUNDS, TASKS, round_key
from p2p_aios.rpc.registry import Service, method
from p2p_aios.types.learning import Round, TaskId
from p2p_aios.types.proof import FinalityProof, StateKey, StateProof
from p2p_aios.units import Address, Height


@dataclass(frozen=True, slots=True)
class ProveState:
    """One of: an account, a task, a round of a task, or any key of the state."""

    account: Address | None = None
    task: TaskId | None = None
    round: Round | None = None
    """Of `task`; none: the task itself."""
    key: StateKey | None = None
    height: Height | None = None
    """None: the last finalized block."""


@dataclass(frozen=True, slots=True)
class ProveBlock:
    height: Height | None = None
    """None: the last finalized block."""


@method("state.proof", ProveState, StateProof)
async def prove_state(service: Service, asked: ProveState) -> StateProof:
    """What the state held at a height, with the way to a certificate."""
    return await service.backend.prove_state(_key(asked), asked.height)


@method("block.proof", ProveBlock, FinalityProof)
async def prove_block(service: Service, asked: ProveBlock) -> FinalityProof:
    """A header, and those after it up to one with a certificate."""
    return await service.backend.prove_block(asked.height)


def _key(asked: ProveState) -> bytes:
    named = [each for each in (asked.account, asked.task, asked.key) if each is not None]
    if len(named) != 1 or (asked.round is not None and asked.task is None):
        raise Invalid("params_invalid", "name one: an account, a task (and its round), or a key")
    if asked.account is not None:
        return ACCOUNTS.prefix + asked.account
    if asked.task is None:
        return named[0]
    if asked.round is None:
        return TASKS.prefix + asked.task
    return ROUNDS.prefix + round_key(asked.task, asked.round)


METHODS: Final = (prove_state, prove_block)
