"""Quorums, leaders' turns and certificates."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_aios.consensus.committee import (
    Roster,
    assemble_certificate,
    is_blocking,
    last_height,
    verify_certificate,
    verify_vote,
)
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid
from p2p_aios.types.committee import Committee, Member, is_quorum
from p2p_aios.types.vote import Ballot, Certificate, Seat, Vote, VoteKind, ballot_digest
from p2p_aios.units import ZERO_HASH, Address, Epoch, Hash, PublicKey, Signature, View

CHAIN_ID = sha256(b"committee tests")
KEYS = sorted((KeyPair.from_secret(sha256(bytes((i,)))) for i in range(4)), key=lambda k: k.address)
BLOCK = Hash(b"\x05" * 32)


def committee(*weights: int, seed: bytes = b"seed") -> Committee:
    """Members with these weights; real keys for the first four."""
    members = tuple(
        Member(KEYS[i].address, KEYS[i].public_key, b"p", weight)
        if i < 4
        else Member(Address(bytes((i,)) * 20), PublicKey(bytes(33)), b"p", weight)
        for i, weight in enumerate(weights)
    )
    return Committee(Epoch(3), members, sha256(seed))


def vote(seat: Seat, ballot: Ballot, chain_id: Hash = CHAIN_ID) -> Vote:
    return Vote(ballot, seat, KEYS[seat].sign_digest(ballot_digest(chain_id, ballot)))


def ballot(kind: VoteKind = VoteKind.NOTARIZE, view: int = 7, epoch: int = 3) -> Ballot:
    block = ZERO_HASH if kind is VoteKind.NULLIFY else BLOCK
    return Ballot(kind, Epoch(epoch), View(view), block)


def certificate(*seats: Seat, of: Ballot | None = None) -> Certificate:
    votes = [vote(seat, of or ballot()) for seat in seats]
    return Certificate(of or ballot(), seats, tuple(v.signature for v in votes))


def test_a_quorum_is_more_than_two_thirds() -> None:
    assert not is_quorum(200, 300)
    assert is_quorum(201, 300)
    assert is_quorum(3, 4)
    assert not is_quorum(2, 4)
    assert is_quorum(1, 1)


@given(st.integers(1, 2**64), st.data())
def test_two_quorums_share_more_than_a_third(total: int, data: st.DataObject) -> None:
    least = 2 * total // 3 + 1
    first = data.draw(st.integers(least, total))
    second = data.draw(st.integers(least, total))
    assert 3 * (first + second - total) > total


@given(st.integers(1, 2**64), st.data())
def test_blocking_weight_leaves_no_quorum(total: int, data: st.DataObject) -> None:
    signed = data.draw(st.integers(0, total))
    assert is_blocking(signed, total) == (3 * signed >= total)


def test_epochs_end_at_multiples_of_their_length() -> None:
    assert last_height(Epoch(0), 1200) == 1200
    assert last_height(Epoch(2), 40) == 120


@given(st.lists(st.integers(1, 2**63), min_size=1, max_size=12), st.binary(max_size=4))
def test_every_seat_leads_its_share_within_one_turn(weights: list[int], seed: bytes) -> None:
    roster = Roster(committee(*weights, seed=seed))
    views = 200
    turns = Counter(roster.leader(View(view)) for view in range(1, views + 1))
    for seat, weight in enumerate(weights):
        # Each phase shifts a seat by less than a turn, the others' by less than a turn each.
        assert (
            abs(turns[seat] * roster.total - views * weight) <= roster.total + len(weights) * weight
        )


@given(st.integers(1, 64), st.binary(max_size=4))
def test_equal_seats_take_turns_in_one_seeded_order(seats: int, seed: bytes) -> None:
    roster = Roster(committee(*[100] * seats, seed=seed))
    order = [roster.leader(View(view)) for view in range(1, 3 * seats + 1)]
    assert sorted(order[:seats]) == list(range(seats))
    assert order == order[:seats] * 3


def test_the_seed_orders_leadership_and_asking_twice_changes_nothing() -> None:
    orders = {
        tuple(Roster(committee(1, 1, 1, 1, seed=bytes((s,)))).leader(View(v)) for v in range(1, 5))
        for s in range(60)
    }
    assert len(orders) > 12
    roster = Roster(committee(5, 3, 1, 1))
    late = roster.leader(View(500))
    first = [roster.leader(View(view)) for view in range(1, 501)]
    assert first[-1] == late
    assert first == [Roster(committee(5, 3, 1, 1)).leader(View(view)) for view in range(1, 501)]


def test_a_dead_leaders_turns_lie_apart() -> None:
    roster = Roster(committee(30, 25, 25, 20))
    turns = [view for view in range(1, 1000) if roster.leader(View(view)) == 0]
    distances = {after - before for before, after in pairwise(turns)}
    assert distances <= {2, 3, 4, 5}


def test_votes_of_a_quorum_make_a_certificate_that_verifies() -> None:
    members = committee(100, 100, 100, 100)
    votes = [vote(seat, ballot()) for seat in (3, 0, 1)]
    assert assemble_certificate(Roster(members), votes[:2]) is None
    assert assemble_certificate(Roster(members), []) is None
    made = assemble_certificate(Roster(members), votes)
    assert made == certificate(0, 1, 3)
    verify_certificate(members, CHAIN_ID, made)


def test_weight_counts_not_heads() -> None:
    members = committee(900, 10, 10, 10)
    verify_certificate(members, CHAIN_ID, certificate(0))
    with pytest.raises(Invalid, match="certificate_quorum"):
        verify_certificate(members, CHAIN_ID, certificate(1, 2, 3))


GOOD = certificate(0, 1, 2)
NULLIFIES_A_BLOCK = replace(ballot(), kind=VoteKind.NULLIFY)


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (certificate(0, 1), "certificate_quorum"),
        (certificate(0, 1, 2, of=ballot(epoch=2)), "certificate_epoch"),
        (certificate(0, 1, 2, of=ballot(view=0)), "ballot_malformed"),
        (certificate(0, 1, 2, of=replace(ballot(), block=ZERO_HASH)), "ballot_malformed"),
        (certificate(0, 1, 2, of=NULLIFIES_A_BLOCK), "ballot_malformed"),
        (certificate(0, 0, 1, 2), "certificate_seats"),
        (certificate(1, 0, 2), "certificate_seats"),
        (replace(GOOD, seats=(0, 1, 63)), "certificate_seats"),
        (replace(GOOD, signatures=GOOD.signatures[:2]), "certificate_seats"),
        (replace(GOOD, signatures=GOOD.signatures[::-1]), "certificate_signature"),
        (replace(GOOD, ballot=ballot(view=8)), "certificate_signature"),
        (replace(GOOD, ballot=ballot(VoteKind.FINALIZE)), "certificate_signature"),
        (replace(GOOD, signatures=(Signature(bytes(64)),) * 3), "certificate_signature"),
    ],
)
def test_a_bad_certificate_is_refused_with_its_code(bad: Certificate, code: str) -> None:
    with pytest.raises(Invalid, match=code):
        verify_certificate(committee(100, 100, 100, 100), CHAIN_ID, bad)


def test_another_chains_votes_mean_nothing_here() -> None:
    members = committee(100, 100, 100, 100)
    stranger = vote(0, ballot(), chain_id=sha256(b"another"))
    with pytest.raises(Invalid, match="vote_signature"):
        verify_vote(members, CHAIN_ID, stranger)
    with pytest.raises(Invalid, match="vote_seat"):
        verify_vote(members, CHAIN_ID, replace(vote(0, ballot()), seat=4))
    with pytest.raises(Invalid, match="vote_epoch"):
        verify_vote(members, CHAIN_ID, vote(0, ballot(epoch=4)))
