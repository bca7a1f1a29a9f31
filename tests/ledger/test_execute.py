"""Blocks as a whole: their context, their limits, and building them."""

from dataclasses import replace

import pytest

from p2p_aios.errors import Invalid
from p2p_aios.ledger.execute import execute_block
from p2p_aios.ledger.queries import read_chain
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import Amount, Epoch, Height
from tests.ledger.world import ALICE, BOB, FUNDS, PARAMS, World, key

PAY = Transfer(BOB.address, Amount(1))


def test_empty_blocks_keep_time() -> None:
    world = World()
    before = read_chain(world.state)
    world.block()
    after = read_chain(world.state)
    assert after.height == 1
    assert after.mix != before.mix


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"height": Height(2)}, "height_wrong"),
        ({"epoch": Epoch(1)}, "epoch_wrong"),
        ({"proposer": ALICE.address}, "unknown_proposer"),
        ({"reveal": bytes(32)}, "beacon_reveal_wrong"),
    ],
)
def test_a_wrong_context_makes_the_block_invalid(changes: dict[str, object], code: str) -> None:
    world = World()
    context = replace(world.context(), **changes)  # type: ignore[arg-type]
    with pytest.raises(Invalid) as caught:
        execute_block(world.state, context, ())
    assert caught.value.code == code


def test_a_block_with_too_many_transactions_is_invalid() -> None:
    world = World(replace(PARAMS, block_transactions_max=2))
    transactions = [world.transaction(ALICE, PAY, nonce=n) for n in range(3)]
    with pytest.raises(Invalid, match="block_too_many_transactions"):
        world.execute(transactions)
    assert len(world.build(transactions).transactions) == 2


def test_a_block_with_too_many_bytes_is_invalid() -> None:
    world = World(replace(PARAMS, block_bytes_max=500, transaction_bytes_max=400))
    transactions = [world.transaction(ALICE, PAY, nonce=n) for n in range(3)]
    with pytest.raises(Invalid, match="block_too_large"):
        world.execute(transactions)
    built = world.build(transactions)
    assert sum(len(t.raw) for t in built.transactions) <= 500
    assert built.transactions == tuple(transactions[: len(built.transactions)])
    assert built.rejected == ()


def test_building_skips_what_cannot_be_included_and_says_why() -> None:
    world = World()
    good = world.transaction(ALICE, PAY)
    again = world.transaction(ALICE, Transfer(BOB.address, Amount(2)))
    poor = world.transaction(key("poor"), PAY)
    built = world.build([good, again, poor])
    assert built.transactions == (good,)
    assert [(t, error.code) for t, error in built.rejected] == [
        (again, "nonce_too_low"),
        (poor, "funds_insufficient"),
    ]


def test_what_is_built_executes_to_the_same() -> None:
    world = World()
    candidates = [
        world.transaction(ALICE, PAY),
        world.transaction(BOB, Transfer(ALICE.address, FUNDS)),
        world.transaction(key("poor"), PAY),
    ]
    built = world.build(candidates)
    assert [r.code for r in built.execution.receipts] == ["ok", "funds_insufficient"]
    assert world.execute(built.transactions) == built.execution


def test_a_failed_action_writes_only_what_its_fee_and_nonce_write() -> None:
    world = World()
    failing = world.execute([world.transaction(ALICE, Transfer(BOB.address, FUNDS))])
    empty = world.execute([])
    changed = {k for k in failing.writes if failing.writes[k] != empty.writes.get(k)}
    assert changed == {b"\x02" + ALICE.address, b"\x01"}
    assert failing.receipts[0].events == ()
