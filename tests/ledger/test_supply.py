"""Supply, block reward and settlement (paper §7; DESIGN §15)."""

import itertools
from dataclasses import replace

import pytest

from p2p_aios.errors import Corrupt, InvariantBroken
from p2p_aios.ledger.audit import audit_supply
from p2p_aios.ledger.queries import read_supply, read_validator
from p2p_aios.ledger.records import Account
from p2p_aios.ledger.state import State
from p2p_aios.ledger.supply import block_reward, move
from p2p_aios.ledger.tables import ACCOUNTS, SUPPLY, account_key
from p2p_aios.params import MAINNET
from p2p_aios.types.event import EpochSettled, RewardPaid
from p2p_aios.types.learning import Verdict
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import AIOS, FIXED_ONE, Amount
from tests.ledger.test_attestation import UPDATES, say
from tests.ledger.world import (
    ALICE,
    BOB,
    DORMANT_SAT,
    FEE,
    FUNDS,
    OWNERS,
    PARAMS,
    VALIDATORS,
    World,
    attest,
    make_task,
    reveal,
)

ERA_BLOCKS = PARAMS.epoch_blocks * PARAMS.era_epochs


def test_equation_10_fixes_the_supply_at_1000_per_dormant_bitcoin() -> None:
    """Eq. (10): mintAIOS = DormantBTC × 1000, in units of 10^-8 on both sides."""
    supply = read_supply(World().state)
    assert supply.target == 1000 * DORMANT_SAT
    assert supply.accounts == 5 * FUNDS
    assert supply.reserve == 1000 * DORMANT_SAT - 5 * FUNDS
    assert supply.is_balanced()


def test_section_15_the_first_reward_of_mainnet_is_about_13_aios() -> None:
    """DESIGN §15: 6.55 M dormant BTC give R₀ ≈ 13 AIOS a block."""
    era_blocks = MAINNET.era_epochs * MAINNET.epoch_blocks
    reward = block_reward(6_550_000 * AIOS * 1000, MAINNET, era_blocks)
    assert reward == 6_550_000 * AIOS * 1000 // (2 * era_blocks)
    assert 12_99 <= reward * 100 // AIOS <= 13_00


def test_section_15_the_reward_halves_at_each_era_by_itself() -> None:
    """R = ⌊reserve / (blocks_left + era_blocks)⌋ issues half of the reserve in each era."""
    everything_spent = replace(
        PARAMS, validator_share=FIXED_ONE // 2, contributor_share=0, window_blocks_max=10
    )
    world = World(everything_spent)
    world.audit_each_block = False
    rewards = []
    for _ in range(3):
        reserve = read_supply(world.state).reserve
        world.block()
        rewards.append(read_supply(world.state).reward)
        assert rewards[-1] == reserve // (2 * ERA_BLOCKS)
        world.blocks(ERA_BLOCKS - 1)
    # Rounding remainders of settlements return to the reserve: a unit per validator and epoch.
    for before, after in itertools.pairwise(rewards):
        assert abs(before - 2 * after) <= 2


def test_the_reward_stays_the_same_within_an_era() -> None:
    world = World()
    world.block()
    reward = read_supply(world.state).reward
    world.blocks(ERA_BLOCKS - 1)
    assert read_supply(world.state).reward == reward
    world.block()
    assert read_supply(world.state).reward < reward


def test_rewards_accrue_each_block_and_fees_join_the_pool() -> None:
    world = World()
    world.block()
    world.do((ALICE, Transfer(BOB.address, Amount(1))))
    supply = read_supply(world.state)
    assert supply.accrued == 2 * supply.reward
    assert supply.fees == FEE


def test_an_epoch_settles_its_pool_by_shares() -> None:
    world = World()
    world.do((ALICE, Transfer(BOB.address, Amount(1))))
    world.blocks(8)
    supply = read_supply(world.state)
    pool = supply.accrued + supply.reward + supply.fees
    world.block()
    (settled,) = world.found(EpochSettled)
    assert (settled.epoch, settled.pool) == (0, pool)
    part = pool * PARAMS.validator_share // FIXED_ONE
    assert part - 4 < settled.paid_validators <= part
    assert settled.paid_contributors == 0
    contributors = pool * PARAMS.contributor_share // FIXED_ONE
    assert settled.paid_treasury == pool - part - contributors
    # Nobody contributed: that part returns, with what rounding left of the validators'.
    assert settled.returned == contributors + part - settled.paid_validators
    after = read_supply(world.state)
    assert (after.accrued, after.fees) == (0, 0)
    assert after.treasury == settled.paid_treasury
    assert after.reserve == supply.reserve - supply.reward + settled.returned


def test_validators_share_by_blocks_proposed_and_owners_receive() -> None:
    world = World()
    world.blocks(7)
    for _ in range(3):
        world.block(proposer=3)
    rewards = {event.recipient: event.amount for event in world.found(RewardPaid)}
    proposed = {0: 1, 1: 2, 2: 2, 3: 1 + 3 + 1}
    proposed = {seat: sum(1 for h in range(1, 8) if h % 4 == seat) for seat in range(4)}
    proposed[3] += 3
    (settled,) = world.found(EpochSettled)
    part = settled.pool * PARAMS.validator_share // FIXED_ONE
    for seat, validator in enumerate(VALIDATORS):
        record = read_validator(world.state, validator.address)
        assert record is not None
        assert record.proposed == 0
        assert rewards[record.owner] == part * proposed[seat] // 10
    assert set(rewards) == {owner.address for owner in OWNERS}


def test_contributors_share_by_accepted_updates() -> None:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task(rounds=1))
    world.block()
    world.do(*((u.worker, world.commit(task, 0, u)) for u in UPDATES))
    world.do(*((u.worker, reveal(task, 0, u)) for u in UPDATES))
    verdicts = (Verdict.ACCEPTED, Verdict.MALFORMED, Verdict.ACCEPTED)
    say(world, attest(task, 0, verdicts), 0, 1, 2)
    accepted = {s.worker for s in world.round(task).seats if s.verdict is Verdict.ACCEPTED}
    world.blocks(10 - world.height)
    (settled,) = world.found(EpochSettled)
    part = settled.pool * PARAMS.contributor_share // FIXED_ONE
    owners = {owner.address for owner in OWNERS}
    paid = {e.recipient: e.amount for e in world.found(RewardPaid) if e.recipient not in owners}
    assert paid == dict.fromkeys(accepted, part // 2)
    assert settled.paid_contributors == 2 * (part // 2)
    # The credit is spent: the next epoch pays contributors nothing.
    world.blocks(10)
    (next_settled,) = world.found(EpochSettled)
    assert next_settled.paid_contributors == 0


def test_a_purse_never_gives_more_than_it_has() -> None:
    state = State(World().state)
    with pytest.raises(InvariantBroken):
        move(state, "treasury", "reserve", 1)
    with pytest.raises(InvariantBroken):
        move(state, "reserve", "treasury", -1)


def test_the_audit_finds_a_balance_that_no_total_counts() -> None:
    world = World()
    assert audit_supply(world.state.items()).is_sound
    world.state[account_key(ALICE.address)] = ACCOUNTS.encode(Account(Amount(FUNDS + 1), 0))
    audit = audit_supply(world.state.items())
    assert audit.accounts == audit.supply.accounts + 1
    assert not audit.is_sound


def test_the_audit_finds_a_supply_off_its_target() -> None:
    world = World()
    supply = read_supply(world.state)
    minted = replace(supply, reserve=Amount(supply.reserve + 1))
    world.state[SUPPLY.prefix] = SUPPLY.encode(minted)
    assert not audit_supply(world.state.items()).is_sound


def test_a_state_without_supply_cannot_be_audited() -> None:
    with pytest.raises(Corrupt, match="state_missing"):
        audit_supply([])
