"""Transfers, fees and nonces: what a transaction costs, and what keeps it out of a block."""

from dataclasses import replace

import pytest

from p2p_aios.errors import Invalid
from p2p_aios.ledger.accounts import fee_min
from p2p_aios.ledger.queries import read_account, read_supply
from p2p_aios.types.event import Transferred
from p2p_aios.types.transaction import CheckedTransaction, Transfer
from p2p_aios.units import AIOS, Amount
from tests.ledger.world import ALICE, BOB, FEE, FUNDS, PARAMS, World, key

PAY_BOB = Transfer(BOB.address, Amount(5 * AIOS))


def refusal(world: World, *transactions: CheckedTransaction) -> str:
    """Code for which a block with these transactions is invalid."""
    with pytest.raises(Invalid) as caught:
        world.execute(transactions)
    return caught.value.code


def test_a_transfer_moves_its_amount_and_costs_its_fee() -> None:
    world = World()
    (receipt,) = world.block(world.transaction(ALICE, PAY_BOB)).receipts
    assert (receipt.code, receipt.fee) == ("ok", FEE)
    assert receipt.events == (Transferred(ALICE.address, BOB.address, PAY_BOB.amount),)
    assert world.balance(ALICE.address) == FUNDS - 5 * AIOS - FEE
    assert world.balance(BOB.address) == FUNDS + 5 * AIOS
    assert read_account(world.state, ALICE.address).nonce == 1
    assert read_supply(world.state).fees == FEE


def test_a_transfer_to_a_new_account_creates_it() -> None:
    world, stranger = World(), key("stranger")
    world.do((ALICE, Transfer(stranger.address, Amount(7))))
    assert world.balance(stranger.address) == 7


def test_a_transfer_to_oneself_costs_only_the_fee() -> None:
    world = World()
    world.do((ALICE, Transfer(ALICE.address, Amount(5 * AIOS))))
    assert world.balance(ALICE.address) == FUNDS - FEE


def test_a_transfer_beyond_the_balance_fails_and_costs_fee_and_nonce() -> None:
    world = World()
    assert world.do((ALICE, Transfer(BOB.address, FUNDS))) == ("funds_insufficient",)
    assert read_account(world.state, ALICE.address).nonce == 1
    assert world.balance(ALICE.address) == FUNDS - FEE
    assert world.balance(BOB.address) == FUNDS
    assert world.found(Transferred) == []


def test_nonces_of_one_sender_follow_each_other_within_a_block() -> None:
    world = World()
    execution = world.block(*(world.transaction(ALICE, PAY_BOB, nonce=n) for n in range(3)))
    assert [receipt.code for receipt in execution.receipts] == ["ok"] * 3


def test_a_replayed_transaction_makes_the_block_invalid() -> None:
    world = World()
    transaction = world.transaction(ALICE, PAY_BOB)
    world.block(transaction)
    assert refusal(world, transaction) == "nonce_too_low"


def test_a_gap_in_the_nonces_makes_the_block_invalid() -> None:
    world = World()
    assert refusal(world, world.transaction(ALICE, PAY_BOB, nonce=1)) == "nonce_too_high"


def test_a_fee_below_base_and_bytes_makes_the_block_invalid() -> None:
    world = World()
    size = len(world.transaction(ALICE, PAY_BOB).raw)
    least = Amount(fee_min(PARAMS, size))
    # A smaller fee may be a byte shorter in CBOR, so the boundary is taken on equal lengths.
    enough = world.transaction(ALICE, PAY_BOB, fee=least)
    assert len(enough.raw) == size
    assert refusal(world, world.transaction(ALICE, PAY_BOB, fee=Amount(least - 1))) == "fee_too_low"
    world.block(enough)


def test_who_cannot_pay_the_fee_cannot_be_in_a_block() -> None:
    world = World()
    assert refusal(world, world.transaction(key("poor"), PAY_BOB)) == "funds_insufficient"


def test_expiry_bounds_when_a_transaction_may_be_included() -> None:
    world = World()
    world.blocks(3)
    lifetime = PARAMS.transaction_lifetime_blocks
    too_late = world.transaction(ALICE, PAY_BOB, expires=3)
    too_early = world.transaction(ALICE, PAY_BOB, expires=4 + lifetime + 1)
    assert refusal(world, too_late) == "expired"
    assert refusal(world, too_early) == "expires_too_far"
    world.block(world.transaction(ALICE, PAY_BOB, expires=4))
    world.block(world.transaction(ALICE, PAY_BOB, expires=5 + lifetime))


def test_a_transaction_over_the_limit_makes_the_block_invalid() -> None:
    world = World(replace(PARAMS, transaction_bytes_max=100))
    assert refusal(world, world.transaction(ALICE, PAY_BOB)) == "too_large"
