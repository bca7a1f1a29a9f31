"""ATTEST and settlement (DESIGN §9): quorum, verdicts, payment, dissent, fee-free first words."""

from dataclasses import replace

import pytest

from p2p_aios.errors import Invalid
from p2p_aios.ledger.queries import (
    read_account,
    read_committee,
    read_supply,
    read_task,
    read_validator,
    read_worker,
)
from p2p_aios.ledger.records import RoundPhase
from p2p_aios.ledger.tables import COMMITTEES, epoch_key
from p2p_aios.types.compute import JobKind, RegisterWorker, RetireWorker
from p2p_aios.types.event import (
    AttestationRefused,
    RoundOpened,
    RoundSettled,
    RoundVoided,
    TaskFinished,
    UpdateRefused,
)
from p2p_aios.types.learning import AttestRound, Verdict
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import AIOS, Amount, Epoch, Hash
from tests.ledger.world import (
    ALICE,
    BOB,
    SCORE,
    VALIDATORS,
    WORKERS,
    Update,
    World,
    attest,
    cid,
    make_task,
    reveal,
)

UPDATES = [Update(worker, cid(f"update {i}")) for i, worker in enumerate(WORKERS)]
REWARD_PER_ROUND = 90 * AIOS // 3


def train(world: World, task: Hash, number: int) -> None:
    """Everyone commits and reveals."""
    world.do(*((u.worker, world.commit(task, number, u)) for u in UPDATES))
    world.do(*((u.worker, reveal(task, number, u)) for u in UPDATES))
    assert world.round(task, number).phase is RoundPhase.ATTEST


def attesting(**changes: object) -> tuple[World, Hash]:
    """A world in ATTEST of the first round, with three revealed updates."""
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task(**changes))
    world.block()
    train(world, task, 0)
    return world, task


def say(world: World, action: AttestRound, *seats: int) -> tuple[str, ...]:
    """One block with a free attestation of each of these panel members."""
    transactions = [world.free(VALIDATORS[seat], action) for seat in seats]
    return tuple(receipt.code for receipt in world.block(*transactions).receipts)


def refusal(world: World, seat: int, action: AttestRound) -> str:
    """Code for which a free attestation may not be in a block."""
    with pytest.raises(Invalid) as caught:
        world.execute([world.free(VALIDATORS[seat], action)])
    return caught.value.code


def test_two_thirds_are_not_enough() -> None:
    """Quorum: 3 × agreeing weight > 2 × total; of four equal seats, three."""
    world, task = attesting()
    say(world, attest(task, 0), 0, 1)
    assert world.round(task).phase is RoundPhase.ATTEST
    say(world, attest(task, 0), 2)
    assert world.round(task).phase is RoundPhase.SETTLED


def test_exactly_two_thirds_are_not_enough() -> None:
    world, task = attesting()
    panel = read_committee(world.state, Epoch(0))
    assert panel is not None
    weights = (2, 2, 1, 1)
    members = tuple(
        replace(member, weight=weight)
        for member, weight in zip(panel.members, weights, strict=True)
    )
    key = COMMITTEES.prefix + epoch_key(0)
    world.state[key] = COMMITTEES.encode(replace(panel, members=members))
    say(world, attest(task, 0), 0, 1)
    assert world.round(task).phase is RoundPhase.ATTEST
    say(world, attest(task, 0), 2)
    assert world.round(task).phase is RoundPhase.SETTLED


def test_a_quorum_settles_and_pays_and_the_next_block_opens_the_next_round() -> None:
    """Whoever proposes a block knows its mix: what closes a round must not also draw by it."""
    world, task = attesting()
    before = [world.balance(w.address) for w in WORKERS]
    say(world, attest(task, 0), 0, 1, 2)
    (settled,) = world.found(RoundSettled)
    share = REWARD_PER_ROUND // 3
    assert (settled.aggregate, settled.score, settled.paid) == (cid("aggregate"), SCORE, share)
    assert set(settled.contributors) == {w.address for w in WORKERS}
    assert world.found(RoundOpened) == []
    after = [world.balance(w.address) for w in WORKERS]
    assert [b - a for a, b in zip(before, after, strict=True)] == [share + AIOS] * 3
    for worker in WORKERS:
        record = read_worker(world.state, worker.address)
        assert record is not None
        assert record.accepted == 1
    world.block()
    (opened,) = world.found(RoundOpened)
    assert (opened.round, opened.base) == (1, cid("aggregate"))


def test_offers_made_in_the_drawing_block_do_not_touch_its_draw() -> None:
    """Its mix is known to the block's proposer, so what it draws from was fixed before."""
    world, task = attesting()
    say(world, attest(task, 0), 0, 1, 2)
    newcomer = RegisterWorker(VALIDATORS[0].address, 1, (JobKind.TRAIN,))
    world.do((WORKERS[0], RetireWorker()), (BOB, newcomer))
    (opened,) = world.found(RoundOpened)
    assert set(opened.seats) == {worker.address for worker in WORKERS}


def test_shares_round_down_and_the_rest_is_refunded_at_the_end() -> None:
    world, task = attesting(budget=Amount(100), rounds=1)
    before = world.balance(ALICE.address)
    say(world, attest(task, 0), 0, 1, 2)
    (settled,) = world.found(RoundSettled)
    assert settled.paid == 33
    assert world.found(TaskFinished) == [TaskFinished(task, cid("aggregate"), Amount(1))]
    assert world.balance(ALICE.address) == before + 1


@pytest.mark.parametrize("verdict", [v for v in Verdict if v is not Verdict.ACCEPTED])
def test_a_refused_update_forfeits_its_bond_with_its_reason(verdict: Verdict) -> None:
    world, task = attesting()
    reserve = read_supply(world.state).reserve
    reward = read_supply(world.state).reward
    verdicts = (Verdict.ACCEPTED, verdict, Verdict.ACCEPTED)
    say(world, attest(task, 0, verdicts), 0, 1, 2)
    refused = world.round(task).seats[1].worker
    code = f"update_{verdict.name.lower()}"
    assert world.found(UpdateRefused) == [UpdateRefused(task, 0, refused, code)]
    (settled,) = world.found(RoundSettled)
    assert settled.paid == REWARD_PER_ROUND // 2
    assert refused not in settled.contributors
    assert read_supply(world.state).reserve == reserve + AIOS - reward
    assert world.round(task).seats[1].verdict is verdict


def test_too_few_accepted_updates_void_the_round_on_the_same_base() -> None:
    world, task = attesting()
    verdicts = (Verdict.ACCEPTED, Verdict.NON_FINITE, Verdict.MISSHAPEN)
    accepted = world.round(task).seats[0].worker
    before = world.balance(accepted)
    say(world, attest(task, 0, verdicts, "base"), 0, 1, 2)
    assert world.found(RoundVoided) == [RoundVoided(task, 0, "too_few_updates")]
    assert len(world.found(UpdateRefused)) == 2
    assert world.balance(accepted) == before + AIOS
    world.block()
    (opened,) = world.found(RoundOpened)
    assert opened.base == cid("base")


def test_an_attestation_can_be_replaced_until_the_round_settles() -> None:
    world, task = attesting()
    owner_of_seat = VALIDATORS[0]
    world.do((ALICE, Transfer(owner_of_seat.address, Amount(AIOS))))
    say(world, attest(task, 0, aggregate="wrong"), 0)
    say(world, attest(task, 0), 1)
    # The first word is free, the correction is not.
    assert refusal(world, 0, attest(task, 0)) == "fee_too_low"
    assert world.do((owner_of_seat, attest(task, 0))) == ("ok",)
    say(world, attest(task, 0), 2)
    assert len(world.found(RoundSettled)) == 1
    assert world.found(AttestationRefused) == []


def test_a_dissenting_attestation_is_refused_and_counted() -> None:
    world, task = attesting()
    say(world, attest(task, 0, aggregate="wrong"), 3)
    say(world, attest(task, 0), 0, 1, 2)
    dissenter = VALIDATORS[3].address
    assert world.found(AttestationRefused) == [
        AttestationRefused(task, 0, dissenter, "attestation_wrong")
    ]
    record = read_validator(world.state, dissenter)
    assert record is not None
    assert record.wrong_attestations == 1


def test_verdicts_scores_and_aggregates_must_all_be_equal_to_count_together() -> None:
    world, task = attesting()
    right = attest(task, 0)
    say(world, right, 0)
    say(world, replace(right, score=replace(SCORE, loss=1)), 1)
    say(world, replace(right, aggregate=cid("other")), 2)
    say(world, replace(right, verdicts=(Verdict.ACCEPTED,) * 2 + (Verdict.DUPLICATE,)), 3)
    assert world.round(task).phase is RoundPhase.ATTEST


def test_no_quorum_by_the_deadline_voids_the_round_and_judges_nobody() -> None:
    world, task = attesting()
    say(world, attest(task, 0), 0, 1)
    say(world, attest(task, 0, aggregate="wrong"), 2)
    before = [world.balance(w.address) for w in WORKERS]
    events = world.blocks(6)
    assert [e for e in events if isinstance(e, RoundVoided)] == [RoundVoided(task, 0, "no_quorum")]
    assert not any(isinstance(e, AttestationRefused | UpdateRefused) for e in events)
    after = [world.balance(w.address) for w in WORKERS]
    assert [b - a for a, b in zip(before, after, strict=True)] == [AIOS] * 3
    assert world.round(task, 1).base == cid("base")


def test_a_late_equal_attestation_is_heard_without_effect() -> None:
    world, task = attesting()
    say(world, attest(task, 0), 0, 1, 2)
    world.block()
    assert say(world, attest(task, 0), 3) == ("ok",)
    assert world.events == []
    assert VALIDATORS[3].address in world.round(task).heard


def test_a_late_differing_attestation_is_refused_and_counted() -> None:
    world, task = attesting()
    say(world, attest(task, 0), 0, 1, 2)
    assert say(world, attest(task, 0, aggregate="wrong"), 3) == ("ok",)
    assert world.found(AttestationRefused) == [
        AttestationRefused(task, 0, VALIDATORS[3].address, "attestation_wrong")
    ]
    record = read_validator(world.state, VALIDATORS[3].address)
    assert record is not None
    assert record.wrong_attestations == 1


def test_a_closed_round_hears_each_member_once() -> None:
    world, task = attesting()
    say(world, attest(task, 0), 0, 1, 2)
    assert refusal(world, 0, attest(task, 0)) == "round_not_attesting"
    world.do((ALICE, Transfer(VALIDATORS[0].address, Amount(AIOS))))
    assert world.do((VALIDATORS[0], attest(task, 0))) == ("round_not_attesting",)


def test_late_attestations_of_one_block_are_all_included() -> None:
    world, task = attesting()
    assert say(world, attest(task, 0), 0, 1, 2, 3) == ("ok",) * 4
    assert len(world.found(RoundSettled)) == 1


def test_attestations_that_could_not_count_are_no_part_of_a_block_without_a_fee() -> None:
    world, task = attesting()
    right = attest(task, 0)
    assert refusal(world, 0, replace(right, task=Hash(bytes(32)))) == "unknown_task"
    assert refusal(world, 0, replace(right, round=1)) == "unknown_round"
    assert refusal(world, 0, replace(right, verdicts=right.verdicts[:2])) == "attestation_malformed"
    assert refusal(world, 0, replace(right, aggregate=bytes(36))) == "cid_malformed"
    few = attest(task, 0, (Verdict.MALFORMED,) * 3)
    assert refusal(world, 0, few) == "attestation_malformed"
    with pytest.raises(Invalid, match="not_on_panel"):
        world.execute([world.free(WORKERS[0], right)])


def test_with_a_fee_they_fail_by_their_codes() -> None:
    world, task = attesting()
    assert world.do((ALICE, attest(task, 0))) == ("not_on_panel",)
    assert world.do((ALICE, attest(task, 1))) == ("unknown_round",)


def test_a_round_that_is_not_attesting_takes_no_attestation() -> None:
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task())
    world.block()
    assert refusal(world, 0, attest(task, 0)) == "round_not_attesting"


def test_the_first_attestation_is_free_for_keys_without_funds() -> None:
    world, task = attesting()
    assert world.balance(VALIDATORS[0].address) == 0
    assert say(world, attest(task, 0), 0) == ("ok",)
    assert read_account(world.state, VALIDATORS[0].address).nonce == 1
    assert refusal(world, 0, attest(task, 0)) == "fee_too_low"


def test_an_offered_fee_is_taken_even_where_none_is_due() -> None:
    world, task = attesting()
    with pytest.raises(Invalid, match="funds_insufficient"):
        world.execute([world.transaction(VALIDATORS[0], attest(task, 0), fee=Amount(5))])


def test_the_panel_is_the_committee_of_the_epoch_in_which_it_opened() -> None:
    world, task = attesting(attest_blocks=30)
    panel = world.round(task).panel
    world.blocks(20)
    say(world, attest(task, 0), 0, 1, 2)
    settled = world.round(task)
    assert (settled.phase, settled.panel) == (RoundPhase.SETTLED, panel)


def test_three_rounds_with_every_kind_of_trouble() -> None:
    """Four validators, three workers: a duplicate and a dissenter; one unrevealed; one clean."""
    world = World()
    world.register_workers()
    task = world.last_id(ALICE, make_task())
    world.block()
    # Round 0: the second seat's update repeats the first's; validator 3 accepts it.
    twin = cid("twin")
    first, second = (seat.worker for seat in world.round(task).seats[:2])
    updates = [replace(u, cid=twin) if u.worker.address in (first, second) else u for u in UPDATES]
    world.do(*((u.worker, world.commit(task, 0, u)) for u in updates))
    again = world.do((updates[0].worker, world.commit(task, 0, updates[0])))
    assert again == ("round_not_committing",)
    world.do(*((u.worker, reveal(task, 0, u)) for u in updates))
    verdicts = (Verdict.ACCEPTED, Verdict.DUPLICATE, Verdict.ACCEPTED)
    say(world, attest(task, 0, aggregate="model 1"), 3)
    say(world, attest(task, 0, verdicts, "model 1"), 0, 1, 2)
    assert world.found(UpdateRefused) == [UpdateRefused(task, 0, second, "update_duplicate")]
    assert [e.validator for e in world.found(AttestationRefused)] == [VALIDATORS[3].address]
    world.block()
    # Round 1: worker 2 commits and keeps silent.
    world.do(*((u.worker, world.commit(task, 1, u)) for u in UPDATES))
    world.do(*((u.worker, reveal(task, 1, u)) for u in UPDATES[:2]))
    events = world.blocks(4)
    assert UpdateRefused(task, 1, WORKERS[2].address, "update_unrevealed") in events
    assert world.round(task, 1).base == cid("model 1")
    say(world, attest(task, 1, (Verdict.ACCEPTED,) * 2, "model 2"), 0, 1, 3)
    world.block()
    # Round 2: clean.
    train(world, task, 2)
    say(world, attest(task, 2, aggregate="model 3"), 0, 1, 2, 3)
    (finished,) = world.found(TaskFinished)
    assert finished == TaskFinished(task, cid("model 3"), Amount(0))
    record = read_task(world.state, task)
    assert record is not None
    assert record.model == cid("model 3")
    assert read_supply(world.state).escrow == 0
    assert read_supply(world.state).bonds == 0
