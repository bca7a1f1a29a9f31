"""Supply (paper §7.1, eq. 10; DESIGN §15): purses, and the block reward that fills them.

Nothing here creates or destroys units: every rule moves them between purses.
"""

from dataclasses import replace
from typing import Literal

from p2p_aios.errors import invariant
from p2p_aios.ledger.environment import Environment, is_era_start
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import SUPPLY
from p2p_aios.params import Params
from p2p_aios.units import Amount

Purse = Literal["reserve", "accounts", "escrow", "bonds", "accrued", "fees", "treasury"]


def move(state: State, source: Purse, target: Purse, amount: int) -> None:
    """Move `amount` between two purses' running totals."""
    if amount == 0 or source == target:
        return
    supply = state.require(SUPPLY)
    left = getattr(supply, source) - amount
    invariant(left >= 0 and amount > 0, f"the purse {source} cannot give {amount}")
    gained = getattr(supply, target) + amount
    state.put(SUPPLY, b"", replace(supply, **{source: left, target: gained}))


def block_reward(reserve: int, params: Params, blocks_left: int) -> Amount:
    """R = ⌊reserve / (blocks_left_in_era + era_blocks)⌋; halves at each era by itself (§15).

    An era that begins with reserve V issues V/2 and leaves V/2 to the next one.
    """
    era_blocks = params.era_epochs * params.epoch_blocks
    return Amount(reserve // (blocks_left + era_blocks))


def accrue_reward(env: Environment) -> None:
    """At block start: set R where an era begins, then move R from the reserve to `accrued`."""
    params, state = env.context.params, env.state
    if is_era_start(env.context.height, params):
        supply = state.require(SUPPLY)
        era_blocks = params.era_epochs * params.epoch_blocks
        # blocks_left includes the current block, so at an era's start it is the whole era.
        reward = block_reward(supply.reserve, params, era_blocks)
        state.put(SUPPLY, b"", replace(supply, reward=reward))
    move(state, "reserve", "accrued", state.require(SUPPLY).reward)


def collect_fees(env: Environment) -> None:
    """At block end: the block's fees, already taken from the accounts, join the epoch's pool."""
    move(env.state, "accounts", "fees", env.fees)
    env.fees = 0


def check_supply(env: Environment) -> None:
    """The invariant of §15 holds after every block."""
    supply = env.state.require(SUPPLY)
    invariant(supply.is_balanced(), f"supply is off at height {env.context.height}")
