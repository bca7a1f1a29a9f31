"""Beacon chains and the mix (DESIGN §6, "Beacon")."""

import hashlib

import pytest

from p2p_aios.crypto.beacon import STRIDE, beacon_chain
from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.admission import check_admission
from p2p_aios.ledger.beacon import ANCHOR_DELAY_EPOCHS, genesis_mix
from p2p_aios.ledger.queries import read_beacon_position, read_chain, read_validator
from p2p_aios.types.transaction import SetBeaconAnchor, Transfer
from p2p_aios.units import AIOS, Amount, Epoch, Height
from tests.ledger.world import ALICE, CHAINS, VALIDATORS, World


@pytest.mark.parametrize("length", [1, 2, STRIDE - 1, STRIDE, STRIDE + 1, 3 * STRIDE + 7])
def test_every_reveal_is_the_preimage_of_the_one_before(length: int) -> None:
    chain = beacon_chain(b"s" * 32, length)
    image = chain.anchor
    for number in [*range(min(length, 5)), length - 1]:
        if number == length - 1:
            image = chain.reveal(number - 1) if number else chain.anchor
        assert hashlib.sha256(chain.reveal(number)).digest() == image
        image = chain.reveal(number)


def test_reveals_follow_across_checkpoints() -> None:
    chain = beacon_chain(b"s" * 32, 2 * STRIDE + 3)
    image = chain.anchor
    for number in range(chain.length):
        preimage = chain.reveal(number)
        assert hashlib.sha256(preimage).digest() == image
        image = preimage


def test_a_chain_ends() -> None:
    chain = beacon_chain(b"s" * 32, 3)
    with pytest.raises(Unavailable, match="beacon_exhausted"):
        chain.reveal(3)
    with pytest.raises(Unavailable, match="beacon_exhausted"):
        chain.reveal(-1)


def test_a_chain_needs_a_length_and_a_secret() -> None:
    with pytest.raises(Invalid, match="beacon_length_invalid"):
        beacon_chain(b"s" * 32, 0)
    with pytest.raises(Invalid, match="beacon_seed_short"):
        beacon_chain(b"short", 4)


def test_secrets_do_not_show_in_a_chains_repr() -> None:
    chain = beacon_chain(b"s" * 32, 3)
    assert "checkpoints" not in repr(chain)


def test_a_block_reveals_and_the_mix_absorbs() -> None:
    world = World()
    assert read_chain(world.state).mix == genesis_mix(world.chain_id)
    context = world.context(proposer=2)
    world.block(proposer=2)
    assert read_chain(world.state).mix == sha256(genesis_mix(world.chain_id) + context.reveal)
    validator = read_validator(world.state, VALIDATORS[2].address)
    assert validator is not None
    assert (validator.head, validator.reveals) == (context.reveal, 1)
    assert validator.proposed == 1


def test_a_reveal_serves_once() -> None:
    world = World()
    reveal = CHAINS[2].reveal(0)
    world.block(proposer=2)
    with pytest.raises(Invalid, match="beacon_reveal_wrong"):
        world.execute([], proposer=2, reveal=reveal)


def test_a_new_anchor_counts_two_epochs_later() -> None:
    """Else the leader of two blocks in a row would choose the second mix."""
    world = World()
    successor = beacon_chain(b"another secret of 32 bytes......", 64)
    world.chains[successor.anchor] = successor
    world.do((ALICE, Transfer(VALIDATORS[2].address, Amount(AIOS))))
    assert world.do((VALIDATORS[2], SetBeaconAnchor(successor.anchor))) == ("ok",)
    while world.height < ANCHOR_DELAY_EPOCHS * world.params.epoch_blocks:
        position = read_beacon_position(world.state, VALIDATORS[2].address, Epoch(1))
        assert position is not None
        assert position.anchor == CHAINS[2].anchor
        world.block(proposer=2)
    position = read_beacon_position(world.state, VALIDATORS[2].address, Epoch(2))
    assert position is not None
    assert (position.anchor, position.reveals) == (successor.anchor, 0)
    world.block(proposer=2)
    validator = read_validator(world.state, VALIDATORS[2].address)
    assert validator is not None
    assert (validator.anchor, validator.reveals) == (successor.anchor, 1)
    assert validator.next_anchor is None


def test_a_pending_anchor_is_neither_replaced_nor_put_off() -> None:
    """Else, for a fee in an epoch's last block, its owner would choose between two reveals for a
    mix that it knows."""
    world = World()
    validator = VALIDATORS[2]
    world.do((ALICE, Transfer(validator.address, Amount(AIOS))))
    assert world.do((validator, SetBeaconAnchor(sha256(b"first")))) == ("ok",)
    again = SetBeaconAnchor(sha256(b"second"))
    world.blocks(ANCHOR_DELAY_EPOCHS * world.params.epoch_blocks - 1 - world.height)
    with pytest.raises(Invalid, match="beacon_anchor_pending"):
        check_admission(
            world.state, world.params, Height(world.height), world.transaction(validator, again)
        )
    assert world.do((validator, again)) == ("beacon_anchor_pending",)
    record = read_validator(world.state, validator.address)
    assert record is not None
    assert (record.next_anchor, record.next_anchor_epoch) == (sha256(b"first"), 2)
    # Epoch 2 begins: the first counts, and the next may follow.
    assert world.do((validator, again), proposer=1) == ("ok",)


def test_only_validators_register_anchors() -> None:
    assert World().do((ALICE, SetBeaconAnchor(sha256(b"x")))) == ("not_a_validator",)


def test_a_stranger_has_no_position() -> None:
    assert read_beacon_position(World().state, ALICE.address, Epoch(0)) is None
