"""The first state, and the genesis files that make none."""

from dataclasses import replace
from typing import Any

import pytest

from p2p_aios.errors import Invalid
from p2p_aios.ledger.committees import registered_validators
from p2p_aios.ledger.genesis import genesis_state
from p2p_aios.ledger.queries import (
    list_open_jobs,
    list_tasks,
    read_account,
    read_chain,
)
from p2p_aios.ledger.state import State
from p2p_aios.ledger.workers import registered_workers
from p2p_aios.params import PRESETS
from p2p_aios.types.genesis import GenesisAccount
from p2p_aios.units import FIXED_ONE, Amount
from tests.ledger.world import ALICE, FUNDS, OWNERS, PARAMS, VALIDATORS, World, make_genesis


def test_genesis_grants_and_registers() -> None:
    state = genesis_state(make_genesis())
    assert read_chain(state).height == 0
    assert read_account(state, ALICE.address).balance == FUNDS
    validators = registered_validators(State(state))
    assert [v.address for v in validators] == [v.address for v in VALIDATORS]
    assert {v.owner for v in validators} == {owner.address for owner in OWNERS}
    assert all(v.head == v.anchor for v in validators)
    assert (list_open_jobs(state), list_tasks(state)) == ((), ())
    assert not registered_workers(State(state))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_makes_a_chain(preset: str) -> None:
    World(PRESETS[preset]).block()


def test_the_same_genesis_makes_the_same_state() -> None:
    assert genesis_state(make_genesis()) == genesis_state(make_genesis())
    other = genesis_state(make_genesis(network="other"))
    assert other != genesis_state(make_genesis())


GENESIS = make_genesis()
FOUNDERS = GENESIS.validators


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"dormant_sat": 5 * FUNDS // 1000 - 1}, "genesis_exceeds_supply"),
        ({"accounts": (GenesisAccount(ALICE.address, Amount(1)),) * 2}, "genesis_duplicate"),
        ({"validators": FOUNDERS[:1] * 2}, "genesis_duplicate"),
        (
            {"validators": (FOUNDERS[0], replace(FOUNDERS[1], peer_id=FOUNDERS[0].peer_id))},
            "genesis_duplicate",
        ),
        ({"params": replace(PARAMS, committee_seats_max=3)}, "too_many_validators"),
        ({"params": replace(PARAMS, contributor_share=FIXED_ONE)}, "params_out_of_range"),
        ({"params": replace(PARAMS, contributor_share=-1)}, "params_out_of_range"),
        ({"params": replace(PARAMS, evidence_epochs=5000)}, "params_out_of_range"),
        ({"params": replace(PARAMS, block_transactions_max=1 << 20)}, "params_out_of_range"),
        ({"params": replace(PARAMS, block_bytes_max=1 << 20)}, "params_out_of_range"),
        ({"params": replace(PARAMS, transaction_bytes_max=1 << 17)}, "params_out_of_range"),
        ({"params": replace(PARAMS, block_bytes_max=1000)}, "params_out_of_range"),
    ],
)
def test_a_genesis_that_makes_no_chain_is_refused(changes: dict[str, Any], code: str) -> None:
    with pytest.raises(Invalid) as caught:
        genesis_state(replace(GENESIS, **changes))
    assert caught.value.code == code


def test_granting_exactly_the_supply_is_possible() -> None:
    genesis_state(make_genesis(dormant_sat=5 * FUNDS // 1000))
