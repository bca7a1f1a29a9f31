"""What RPC and mempool let in: never (`Invalid`), not yet (`Unavailable`), or welcome."""

from dataclasses import replace

import pytest

from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.ledger.admission import NONCES_AHEAD_MAX, check_admission
from p2p_aios.ledger.tables import (
    COMMITTEES,
    JOB_INDEX,
    JOBS,
    ROUNDS,
    TASK_INDEX,
    WORKER_INDEX,
)
from p2p_aios.types.compute import JobKind, RegisterWorker, SubmitReceipt
from p2p_aios.types.transaction import CheckedTransaction, Transfer
from p2p_aios.units import AIOS, Amount, Hash, Height
from tests.ledger.test_attestation import UPDATES, say, train
from tests.ledger.test_jobs import ORDER, job_of, offer, receipt_for, submitted
from tests.ledger.world import (
    ALICE,
    BOB,
    FEE,
    FUNDS,
    PARAMS,
    VALIDATORS,
    WORKERS,
    World,
    attest,
    cid,
    key,
    make_task,
    reveal,
)

PAY = Transfer(BOB.address, Amount(AIOS))


def admit(world: World, transaction: CheckedTransaction) -> tuple[type[AiosError], str] | None:
    """None where admitted, else who erred and the code."""
    try:
        check_admission(world.state, world.params, Height(world.height), transaction)
    except AiosError as error:
        return type(error), error.code
    return None


def test_what_the_next_block_would_take_is_admitted() -> None:
    world = World()
    assert admit(world, world.transaction(ALICE, PAY)) is None


def test_waiting_for_earlier_nonces_is_admitted_up_to_a_bound() -> None:
    world = World()
    assert admit(world, world.transaction(ALICE, PAY, nonce=NONCES_AHEAD_MAX)) is None
    beyond = world.transaction(ALICE, PAY, nonce=NONCES_AHEAD_MAX + 1)
    assert admit(world, beyond) == (Unavailable, "nonce_too_far")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"fee": Amount(1)}, "fee_too_low"),
        ({"fee": Amount(10**6 * AIOS)}, "funds_insufficient"),
        ({"expires": Height(0)}, "expired"),
        ({"expires": Height(2 + PARAMS.transaction_lifetime_blocks)}, "expires_too_far"),
    ],
)
def test_what_no_block_can_take_is_refused(changes: dict[str, int], code: str) -> None:
    world = World()
    assert admit(world, world.transaction(ALICE, PAY, **changes)) == (Invalid, code)


def test_a_spent_nonce_is_refused() -> None:
    world = World()
    transaction = world.transaction(ALICE, PAY)
    world.block(transaction)
    assert admit(world, transaction) == (Invalid, "nonce_too_low")


def test_an_oversized_transaction_is_refused() -> None:
    world = World(replace(PARAMS, transaction_bytes_max=100))
    assert admit(world, world.transaction(ALICE, PAY)) == (Invalid, "too_large")


def test_an_unfunded_sender_is_refused() -> None:
    world = World()
    poor = world.transaction(key("poor"), PAY)
    assert admit(world, poor) == (Invalid, "funds_insufficient")


def test_nobody_promises_more_than_they_have() -> None:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task())
    world.block()
    commit = world.commit(task, 0, UPDATES[0])
    world.do((WORKERS[0], Transfer(BOB.address, Amount(FUNDS - 4 * FEE))))
    for sender, action in [
        (ALICE, Transfer(BOB.address, Amount(FUNDS))),
        (ALICE, replace(ORDER, payment=FUNDS)),
        (ALICE, make_task(budget=FUNDS)),
        (WORKERS[0], commit),
    ]:
        refused = admit(world, world.transaction(sender, action))
        assert refused == (Invalid, "funds_insufficient"), action
    assert admit(world, world.transaction(WORKERS[1], world.commit(task, 0, UPDATES[1]))) is None


def test_malformed_submissions_are_refused_by_their_code() -> None:
    world = World()
    pairs = [
        (make_task(base=bytes(36)), "cid_malformed"),
        (replace(ORDER, window_blocks=5000), "window_too_long"),
        (replace(offer(), kinds=(JobKind.TRAIN,) * 2), "kinds_malformed"),
        (RegisterWorker(BOB.address, 1, (JobKind.TRAIN,)), "unknown_validator"),
    ]
    for action, code in pairs:
        assert admit(world, world.transaction(ALICE, action)) == (Invalid, code)  # type: ignore[arg-type]


def test_a_learning_action_is_early_until_its_phase_and_late_after_it() -> None:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task(rounds=2))
    first = UPDATES[0]
    early_attestation = attest(task, 0)
    unknown = world.transaction(first.worker, replace(early_attestation, task=Hash(bytes(32))))
    assert admit(world, unknown) == (Unavailable, "unknown_task")
    world.block()
    commit, shown = world.commit(task, 0, first), reveal(task, 0, first)
    assert admit(world, world.transaction(first.worker, commit)) is None
    assert admit(world, world.transaction(first.worker, shown)) == (Unavailable, "round_not_yet")
    train(world, task, 0)
    late = admit(world, world.transaction(first.worker, commit))
    assert late == (Invalid, "round_not_committing")
    late = admit(world, world.transaction(first.worker, shown))
    assert late == (Invalid, "round_not_revealing")
    assert admit(world, world.free(VALIDATORS[0], early_attestation)) is None
    next_round = world.free(VALIDATORS[0], attest(task, 1))
    assert admit(world, next_round) == (Unavailable, "round_not_yet")
    never = world.free(VALIDATORS[0], attest(task, 2))
    assert admit(world, never) == (Invalid, "unknown_round")


def test_actions_that_would_certainly_fail_are_refused() -> None:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task())
    world.block()
    stranger = world.transaction(BOB, world.commit(task, 0, UPDATES[0]))
    assert admit(world, stranger) == (Invalid, "not_seated")
    world.do(*((u.worker, world.commit(task, 0, u)) for u in UPDATES))
    other = replace(reveal(task, 0, UPDATES[0]), update=cid("other"))
    assert admit(world, world.transaction(WORKERS[0], other)) == (Invalid, "commitment_mismatch")
    world.do(*((u.worker, reveal(task, 0, u)) for u in UPDATES))
    outsider = world.free(WORKERS[0], attest(task, 0))
    assert admit(world, outsider) == (Invalid, "not_on_panel")
    say(world, attest(task, 0), 0, 1, 2)
    again = world.free(VALIDATORS[0], attest(task, 0))
    assert admit(world, again) == (Invalid, "round_not_attesting")
    assert admit(world, world.free(VALIDATORS[3], attest(task, 0))) is None


def test_strangers_and_paupers_make_a_node_read_little() -> None:
    """A key costs nothing: what anybody may send must not take long to refuse."""
    world, id = submitted()
    world.register_workers()
    task = world.last_id(ALICE, make_task())
    world.block()
    pauper = WORKERS[0]
    world.do((pauper, Transfer(BOB.address, Amount(world.balance(pauper.address) - FEE - 1))))
    read: list[bytes] = []
    large = (ROUNDS, JOBS, WORKER_INDEX, JOB_INDEX, TASK_INDEX, COMMITTEES)

    class Reader:
        def get(self, key: bytes) -> bytes | None:
            read.append(key)
            return world.state.get(key)

    actions = [
        world.commit(task, 0, UPDATES[0]),
        reveal(task, 0, UPDATES[0]),
        attest(task, 0),
        receipt_for(job_of(world, id)),
        offer(),
    ]
    for sender in (pauper, key("stranger")):
        for action in actions:
            for transaction in (world.transaction(sender, action), world.free(sender, action)):
                with pytest.raises(Invalid):
                    check_admission(Reader(), PARAMS, Height(world.height), transaction)
    assert read
    assert not [key for key in read if key[:1] in {table.prefix for table in large}]


def test_receipts_are_admitted_for_the_running_assignment_only() -> None:
    world, id = submitted(workers=1)
    job = job_of(world, id)
    action = receipt_for(job)
    sender = WORKERS[0]
    unknown = SubmitReceipt(replace(action.receipt, job=Hash(bytes(32))))
    assert admit(world, world.transaction(sender, unknown)) == (Unavailable, "unknown_job")
    early = admit(world, world.transaction(sender, action))
    assert early == (Unavailable, "assignment_not_yet")
    world.block()
    assert admit(world, world.transaction(sender, action)) is None
    assert admit(world, world.transaction(BOB, action)) == (Invalid, "receipt_wrong_worker")
    ahead = receipt_for(job, nonce=1)
    assert admit(world, world.transaction(sender, ahead)) == (Unavailable, "assignment_not_yet")
    world.blocks(4)
    assert admit(world, world.transaction(sender, action)) == (Invalid, "receipt_late")
