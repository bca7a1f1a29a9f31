"""Committees by epoch and evidence against their members (DESIGN §6)."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Corrupt
from p2p_aios.ledger.beacon import genesis_mix
from p2p_aios.ledger.committees import cap_weights, kept_epochs
from p2p_aios.ledger.environment import epoch_of, is_epoch_end
from p2p_aios.ledger.queries import (
    header_committee_hash,
    read_chain,
    read_committee,
    read_validator,
)
from p2p_aios.types.committee import committee_hash
from p2p_aios.types.event import EvidenceRecorded
from p2p_aios.types.transaction import ReportEvidence
from p2p_aios.types.vote import Ballot, Vote, VoteKind, ballot_digest
from p2p_aios.units import ZERO_HASH, Epoch, Hash, View
from tests.ledger.world import ALICE, BOB, PARAMS, VALIDATORS, World

A, B = Hash(b"a" * 32), Hash(b"b" * 32)
NOTARIZE_A = Ballot(VoteKind.NOTARIZE, Epoch(0), View(3), A)
NOTARIZE_B = replace(NOTARIZE_A, block=B)
NULLIFY = Ballot(VoteKind.NULLIFY, Epoch(0), View(3), ZERO_HASH)
FINALIZE_A = Ballot(VoteKind.FINALIZE, Epoch(0), View(3), A)
FINALIZE_B = replace(FINALIZE_A, block=B)


def test_epochs_count_from_the_first_block() -> None:
    assert [epoch_of(h, PARAMS) for h in (0, 1, 10, 11, 20, 21)] == [0, 0, 0, 1, 1, 2]
    assert [h for h in range(25) if is_epoch_end(h, PARAMS)] == [10, 20]


def test_genesis_seats_everyone_with_equal_weight_in_both_first_epochs() -> None:
    world = World()
    for epoch in (Epoch(0), Epoch(1)):
        committee = read_committee(world.state, epoch)
        assert committee is not None
        assert [m.address for m in committee.members] == [v.address for v in VALIDATORS]
        assert {m.weight for m in committee.members} == {1}
        assert committee.seed == genesis_mix(world.chain_id)


def test_members_are_fixed_two_epochs_ahead_and_seeds_one() -> None:
    """Weights first, seed after."""
    world = World()
    assert read_committee(world.state, Epoch(2)) is None
    world.blocks(10)
    fixed = read_committee(world.state, Epoch(2))
    assert fixed is not None
    assert fixed.seed == ZERO_HASH
    first = read_committee(world.state, Epoch(1))
    assert first is not None
    assert first.seed == genesis_mix(world.chain_id)
    world.blocks(10)
    seeded = read_committee(world.state, Epoch(2))
    assert seeded is not None
    assert seeded.seed == read_chain(world.state).mix
    assert seeded.members == fixed.members


def test_the_committee_hash_is_the_same_before_and_after_any_block() -> None:
    world = World()
    for _ in range(25):
        epoch = world.context().epoch
        before = header_committee_hash(world.state, epoch)
        world.block()
        assert header_committee_hash(world.state, epoch) == before
        current = read_committee(world.state, epoch)
        upcoming = read_committee(world.state, Epoch(epoch + 1))
        assert current is not None
        assert upcoming is not None
        assert before == committee_hash(current, upcoming.members)


def test_committees_that_nobody_needs_are_forgotten() -> None:
    params = replace(PARAMS, window_blocks_max=10)
    world = World(params)
    assert kept_epochs(params) == 3
    world.blocks(39)
    assert read_committee(world.state, Epoch(0)) is not None
    world.block()
    assert read_committee(world.state, Epoch(0)) is None
    assert read_committee(world.state, Epoch(1)) is not None
    with pytest.raises(Corrupt, match="state_missing"):
        header_committee_hash(world.state, Epoch(0))


def test_panels_outlive_short_evidence_windows() -> None:
    params = replace(PARAMS, evidence_epochs=1, window_blocks_max=45)
    assert kept_epochs(params) == 6


def vote(world: World, signer: KeyPair, ballot: Ballot, seat: int = 1) -> Vote:
    return Vote(ballot, seat, signer.sign_digest(ballot_digest(world.chain_id, ballot)))


def report(world: World, first: Ballot, second: Ballot) -> str:
    votes = (vote(world, VALIDATORS[1], ballot) for ballot in (first, second))
    (code,) = world.do((ALICE, ReportEvidence(*votes)))
    return code


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (NOTARIZE_A, NOTARIZE_B),
        (FINALIZE_A, FINALIZE_B),
        (FINALIZE_A, NULLIFY),
        (NULLIFY, FINALIZE_A),
    ],
)
def test_votes_that_no_honest_key_signs_both_are_recorded(first: Ballot, second: Ballot) -> None:
    world = World()
    assert report(world, first, second) == "ok"
    assert world.found(EvidenceRecorded) == [EvidenceRecorded(VALIDATORS[1].address, Epoch(0))]
    validator = read_validator(world.state, VALIDATORS[1].address)
    assert validator is not None
    assert (validator.faults, validator.fault_epochs) == (1, (0,))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (NOTARIZE_A, NOTARIZE_A),
        (NOTARIZE_A, NULLIFY),
        (NOTARIZE_A, FINALIZE_B),
        (NULLIFY, NULLIFY),
        (NOTARIZE_A, replace(NOTARIZE_B, view=View(4))),
        (NOTARIZE_A, replace(NOTARIZE_B, epoch=Epoch(1))),
    ],
)
def test_votes_that_an_honest_key_may_sign_are_no_evidence(first: Ballot, second: Ballot) -> None:
    assert report(World(), first, second) == "evidence_not_conflicting"


def test_evidence_counts_once_per_key_and_epoch() -> None:
    world = World()
    assert report(world, NOTARIZE_A, NOTARIZE_B) == "ok"
    assert report(world, FINALIZE_A, FINALIZE_B) == "evidence_repeated"
    world.blocks(10)
    next_epoch = [replace(b, epoch=Epoch(1)) for b in (NOTARIZE_A, NOTARIZE_B)]
    assert report(world, *next_epoch) == "ok"
    validator = read_validator(world.state, VALIDATORS[1].address)
    assert validator is not None
    assert validator.fault_epochs == (0, 1)


def test_evidence_of_another_epoch_expires_and_is_forgotten() -> None:
    world = World()
    world.blocks(39)
    assert world.context().epoch == PARAMS.evidence_epochs
    assert report(world, NOTARIZE_A, NOTARIZE_B) == "ok"
    assert report(world, FINALIZE_A, FINALIZE_B) == "evidence_expired"
    current = [replace(b, epoch=Epoch(4)) for b in (NOTARIZE_A, NOTARIZE_B)]
    assert report(world, *current) == "ok"
    validator = read_validator(world.state, VALIDATORS[1].address)
    assert validator is not None
    assert (validator.faults, validator.fault_epochs) == (2, (4,))


def test_evidence_of_an_epoch_to_come_is_refused() -> None:
    future = [replace(b, epoch=Epoch(1)) for b in (NOTARIZE_A, NOTARIZE_B)]
    assert report(World(), *future) == "evidence_unknown_epoch"


def test_evidence_needs_the_seats_own_signatures() -> None:
    world = World()
    good = vote(world, VALIDATORS[1], NOTARIZE_A)
    forged = vote(world, VALIDATORS[2], NOTARIZE_B)
    assert world.do((BOB, ReportEvidence(good, forged))) == ("evidence_signature_invalid",)
    assert world.do((BOB, ReportEvidence(forged, good))) == ("evidence_signature_invalid",)
    elsewhere = vote(world, VALIDATORS[1], NOTARIZE_B, seat=2)
    assert world.do((BOB, ReportEvidence(good, elsewhere))) == ("evidence_not_conflicting",)
    nobody = [vote(world, VALIDATORS[1], b, seat=9) for b in (NOTARIZE_A, NOTARIZE_B)]
    assert world.do((BOB, ReportEvidence(*nobody))) == ("evidence_unknown_seat",)


@pytest.mark.parametrize(
    ("influences", "weights"),
    [
        ((5, 1, 1), (5, 1, 1)),
        ((100, 100, 100, 100), (100, 100, 100, 100)),
        ((30, 30, 20, 20), (30, 30, 20, 20)),
        # One capped: 3 * 70 / 7 = 30 of 100.
        ((900, 25, 25, 20), (30, 25, 25, 20)),
        # Two capped: 3 * 40 / 4 = 30 of 100.
        ((20, 500, 900, 20), (20, 30, 30, 20)),
        # Three capped: three times what is left.
        ((700, 800, 900, 10), (30, 30, 30, 10)),
    ],
)
def test_no_seat_counts_for_more_than_thirty_percent(
    influences: tuple[int, ...], weights: tuple[int, ...]
) -> None:
    assert cap_weights(influences) == weights


@given(st.lists(st.integers(1, 2**60), min_size=4, max_size=64))
def test_caps_hold_and_touch_only_the_largest(influences: list[int]) -> None:
    weights = cap_weights(influences)
    assert all(10 * weight <= 3 * sum(weights) for weight in weights)
    assert all(
        weight in (influence, max(weights))
        for weight, influence in zip(weights, influences, strict=True)
    )
    assert (
        sum(weight != influence for weight, influence in zip(weights, influences, strict=True)) <= 3
    )
