"""What a validator without funds may do: register its next beacon chain, once in two epochs."""

import pytest

from p2p_aios.crypto.beacon import beacon_chain, beacon_seed
from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import Invalid
from p2p_aios.ledger.admission import check_admission
from p2p_aios.ledger.queries import read_beacon_position, read_validator
from p2p_aios.types.transaction import SetBeaconAnchor, Transfer
from p2p_aios.units import Amount, Epoch, Hash, Height
from tests.ledger.world import ALICE, PARAMS, VALIDATORS, World, key

VALIDATOR = VALIDATORS[0]


def anchor(name: str) -> SetBeaconAnchor:
    return SetBeaconAnchor(Hash(sha256(name.encode())))


def refusal_of(world: World, *transactions: object) -> str:
    with pytest.raises(Invalid) as caught:
        world.block(*transactions)
    return caught.value.code


def test_a_validator_registers_its_next_chain_for_nothing() -> None:
    world = World()
    free = world.free(VALIDATOR, anchor("next"))
    check_admission(world.state, PARAMS, Height(world.height), free)
    (receipt,) = world.block(free).receipts
    assert (receipt.code, receipt.fee) == ("ok", 0)
    validator = read_validator(world.state, VALIDATOR.address)
    assert validator is not None
    assert validator.next_anchor == anchor("next").anchor


def test_while_one_is_pending_there_is_no_second() -> None:
    world = World()
    world.block(world.free(VALIDATOR, anchor("next")))
    again = world.free(VALIDATOR, anchor("other"))
    with pytest.raises(Invalid, match="beacon_anchor_pending"):
        check_admission(world.state, PARAMS, Height(world.height), again)
    assert refusal_of(world, again) == "beacon_anchor_pending"


def test_two_in_one_block_are_one_too_many() -> None:
    world = World()
    first = world.free(VALIDATOR, anchor("next"))
    second = world.transaction(VALIDATOR, anchor("other"), fee=Amount(0), nonce=1)
    assert refusal_of(world, first, second) == "beacon_anchor_pending"


def test_once_the_successor_counts_the_next_is_free_again() -> None:
    world = World()
    seed = beacon_seed(VALIDATOR.secret, "test", 1)
    chain = beacon_chain(seed, 64)
    world.chains[chain.anchor] = chain
    world.block(world.free(VALIDATOR, SetBeaconAnchor(chain.anchor)))
    world.blocks(2 * PARAMS.epoch_blocks)
    position = read_beacon_position(world.state, VALIDATOR.address, Epoch(2))
    assert position is not None
    assert position.anchor == chain.anchor
    (receipt,) = world.block(world.free(VALIDATOR, anchor("third"))).receipts
    assert receipt.code == "ok"


@pytest.mark.parametrize("sender", [ALICE, key("stranger")])
def test_nobody_else_registers_for_nothing(sender: object) -> None:
    world = World()
    assert refusal_of(world, world.free(sender, anchor("next"))) == "not_a_validator"


def test_a_validator_pays_for_everything_else() -> None:
    world = World()
    transfer = Transfer(ALICE.address, Amount(0))
    assert refusal_of(world, world.free(VALIDATOR, transfer)) == "fee_too_low"


def test_generations_and_networks_of_a_key_share_nothing() -> None:
    """What a testnet shows of a chain would give away the mainnet's."""
    seeds = {
        beacon_seed(VALIDATOR.secret, network, generation)
        for generation in range(4)
        for network in ("testnet", "mainnet")
    }
    assert len(seeds) == 8
    assert beacon_seed(VALIDATOR.secret, "mainnet") in seeds
