"""Settlement (paper §7.2; DESIGN §15): each epoch's pool goes to those who carried it.

Until Pash weighs contributions: validators share by blocks proposed, contributors by updates
accepted. What nobody earned, and every rounding remainder, returns to the reserve.
"""

from collections.abc import Sequence
from dataclasses import replace

from p2p_aios.ledger.accounts import pay_out
from p2p_aios.ledger.committees import registered_validators
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.supply import move
from p2p_aios.ledger.tables import SUPPLY, VALIDATORS, WORKERS
from p2p_aios.ledger.workers import registered_workers
from p2p_aios.types.event import EpochSettled, RewardPaid
from p2p_aios.units import FIXED_ONE, Address, Amount, mul_div_floor


def settle_epoch(env: Environment) -> None:
    """At an epoch's last block, after its transactions and fees."""
    state, params = env.state, env.context.params
    supply = state.require(SUPPLY)
    pool = supply.accrued + supply.fees
    for_validators = mul_div_floor(pool, params.validator_share, FIXED_ONE)
    for_contributors = mul_div_floor(pool, params.contributor_share, FIXED_ONE)
    for_treasury = pool - for_validators - for_contributors
    move(state, "fees", "accrued", supply.fees)
    validators = _pay_shares(env, for_validators, _validator_work(env))
    contributors = _pay_shares(env, for_contributors, _contributor_work(env))
    move(state, "accrued", "treasury", for_treasury)
    returned = pool - validators - contributors - for_treasury
    move(state, "accrued", "reserve", returned)
    settled = EpochSettled(
        env.context.epoch,
        Amount(pool),
        Amount(validators),
        Amount(contributors),
        Amount(for_treasury),
        Amount(returned),
    )
    env.events.append(settled)


def _validator_work(env: Environment) -> list[tuple[Address, int]]:
    """(owner, blocks proposed in the epoch), which starts again from zero."""
    work = []
    for validator in registered_validators(env.state):
        work.append((validator.owner, validator.proposed))
        if validator.proposed:
            env.state.put(VALIDATORS, validator.address, replace(validator, proposed=0))
    return work


def _contributor_work(env: Environment) -> list[tuple[Address, int]]:
    """(worker, updates accepted in the epoch), which starts again from zero."""
    work = []
    for worker in registered_workers(env.state):
        if worker.accepted:
            work.append((worker.address, worker.accepted))
            env.state.put(WORKERS, worker.address, replace(worker, accepted=0))
    return work


def _pay_shares(env: Environment, part: int, work: Sequence[tuple[Address, int]]) -> int:
    """Pay ⌊part · amount / total⌋ to each; returns the sum paid."""
    total, paid = sum(amount for _, amount in work), 0
    for recipient, amount in work:
        reward = mul_div_floor(part, amount, total) if amount else 0
        if reward:
            pay_out(env.state, "accrued", recipient, reward)
            env.events.append(RewardPaid(env.context.epoch, recipient, Amount(reward)))
            paid += reward
    return paid
