"""What a learning task pays beforehand for the rounds that it will have written."""

import pytest

from p2p_aios.errors import Invalid
from p2p_aios.ledger.accounts import ROUND_BYTES, SEAT_BYTES
from p2p_aios.ledger.admission import check_admission
from p2p_aios.ledger.queries import list_tasks
from p2p_aios.ledger.records import TaskStatus
from p2p_aios.types.compute import JobKind, RegisterWorker
from p2p_aios.types.genesis import GenesisAccount
from p2p_aios.types.receipt import encode_outcome
from p2p_aios.units import AIOS, Amount, Height
from tests.ledger.world import ALICE, FEE, VALIDATORS, World, key, make_task


def test_a_task_pays_for_the_rounds_it_will_write() -> None:
    """Else one small fee would fill every node's disk with rounds that nobody serves."""
    world = World()
    endless = make_task(rounds=10_000, seats=256)
    transaction = world.transaction(ALICE, endless, fee=FEE)
    with pytest.raises(Invalid, match="fee_too_low"):
        check_admission(world.state, world.params, Height(world.height), transaction)
    with pytest.raises(Invalid, match="fee_too_low"):
        world.block(transaction)
    paid = world.transaction(ALICE, endless)
    assert paid.body.fee > 300 * AIOS
    world.block(paid)
    assert len(list_tasks(world.state)) == 1


def test_what_a_task_pays_for_its_rounds_covers_what_they_write() -> None:
    """State and receipts of rounds that nobody commits to, against what the fee counts for them."""
    crowd = [key(f"crowd {number}") for number in range(40)]
    rich = tuple(GenesisAccount(k.address, Amount(AIOS)) for k in (ALICE, *crowd))
    world = World(accounts=rich)
    offer = RegisterWorker(VALIDATORS[0].address, 1, (JobKind.TRAIN,))
    world.do(*((worker, offer) for worker in crowd))
    spec = make_task(rounds=5, seats=40, commit_blocks=1, budget=Amount(0))
    world.last_id(ALICE, spec)
    written = 0
    while any(task.status is not TaskStatus.FINISHED for task in list_tasks(world.state)):
        before = set(world.state)
        execution = world.block()
        written += len(encode_outcome(execution.receipts, execution.events).encoded())
        written += sum(len(k) + len(world.state[k]) for k in set(world.state) - before)
    paid = spec.rounds * (ROUND_BYTES + spec.seats * SEAT_BYTES)
    assert paid / 4 < written < paid
