"""Each check finds what it is for, and is silent when all is well."""

from dataclasses import replace

from p2p_aios.params import PRESETS
from p2p_aios.types.genesis import Genesis
from p2p_aios.types.views import AccountView, SupplyView
from p2p_aios.units import Address, Amount, Hash, Height, Millis
from testnet.invariants import (
    check_intervals,
    check_nothing_lost,
    check_same_blocks,
    check_supply,
)

DORMANT_SAT = 10
GENESIS = Genesis("t", Millis(0), PRESETS["fast"], DORMANT_SAT, (), ())
SUPPLY = SupplyView(
    height=Height(7),
    dormant_sat=DORMANT_SAT,
    target=Amount(10_000),
    circulating=Amount(700),
    reserve=Amount(9_300),
    burn_debt=Amount(0),
    treasury=Amount(50),
    escrowed=Amount(100),
    block_reward=Amount(1),
    pool=Amount(50),
    is_balanced=True,
)
ANN = AccountView(Address(b"a" * 20), Amount(300), 0, 0, Height(7))
BEN = AccountView(Address(b"b" * 20), Amount(200), 0, 0, Height(7))


def block(letter: str) -> Hash:
    return Hash(letter.encode() * 32)


def test_a_sound_supply_has_no_differences() -> None:
    assert check_supply(GENESIS, SUPPLY, (ANN, BEN)) == ()


def test_a_unit_too_many_or_too_few_is_found() -> None:
    for changed in (
        replace(SUPPLY, reserve=Amount(9_301)),
        replace(SUPPLY, circulating=Amount(699)),
        replace(SUPPLY, target=Amount(10_001)),
        replace(SUPPLY, dormant_sat=11),
        replace(SUPPLY, burn_debt=Amount(1)),
        replace(SUPPLY, treasury=Amount(51)),
        replace(SUPPLY, escrowed=Amount(99)),
    ):
        assert check_supply(GENESIS, changed, (ANN, BEN))
    assert check_supply(GENESIS, SUPPLY, (ANN, replace(BEN, balance=Amount(201))))
    assert check_supply(GENESIS, SUPPLY, (ANN,)), "an account that nobody listed"


def test_the_claim_is_balanced_is_not_believed() -> None:
    assert check_supply(GENESIS, replace(SUPPLY, reserve=Amount(0), is_balanced=True), (ANN, BEN))


def test_accounts_of_another_height_prove_nothing() -> None:
    late = replace(BEN, height=Height(8))
    (difference,) = check_supply(GENESIS, SUPPLY, (ANN, late))
    assert "heights [8]" in difference


def test_forks_are_found_and_lag_is_none() -> None:
    short = {1: block("a")}
    long = {1: block("a"), 2: block("b")}
    assert check_same_blocks({"node-0": short, "node-1": long}) == ()
    (difference,) = check_same_blocks({"node-0": long, "node-1": {2: block("c")}})
    assert "height 2" in difference
    assert "node-1" in difference


def test_a_lost_or_changed_block_is_found() -> None:
    before = {1: block("a"), 2: block("b")}
    assert check_nothing_lost(before, {**before, 3: block("c")}) == ()
    assert len(check_nothing_lost(before, {1: block("a")})) == 1
    assert len(check_nothing_lost(before, {1: block("x"), 2: block("b")})) == 1


def test_blocks_too_close_are_found() -> None:
    assert check_intervals([0, 500, 1001], 500) == ()
    assert len(check_intervals([0, 500, 999], 500)) == 1
