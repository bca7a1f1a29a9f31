"""What a validator knows after a restart, and when it must stay silent."""

from dataclasses import replace

import pytest

from p2p_aios.consensus.events import (
    Anchor,
    Build,
    Now,
    Output,
    Persist,
    Received,
    Send,
    Start,
    Synced,
    Term,
    Tick,
)
from p2p_aios.consensus.instance import Identity
from p2p_aios.consensus.memory import FOUNDING_MS, JOINING_MS, memory_of
from p2p_aios.consensus.records import Forgotten, JournalBirth, Record, Silenced, position_of
from p2p_aios.consensus.simplex import Simplex
from p2p_aios.errors import Corrupt, InvariantBroken
from p2p_aios.params import MAINNET
from p2p_aios.types.block import Proposal
from p2p_aios.types.committee import Committee
from p2p_aios.types.vote import Ballot, Certificate, Vote, VoteKind, ballot_digest
from p2p_aios.units import UINT64_MAX, ZERO_HASH, Epoch, Hash, Height, Millis, View
from testnet.simulate.application import CHAIN_ID, GENESIS_MS, Ledger, make_block, simulated_keys

KEYS = sorted((simulated_keys(i) for i in range(4)), key=lambda keys: keys.address)
TERM = Ledger(KEYS, MAINNET, (100, 100)).next_term()
GENESIS = Anchor(CHAIN_ID, Height(0), Millis(GENESIS_MS), None)
BIRTH = JournalBirth(Millis(GENESIS_MS), Height(0))
BLOCK = Hash(b"\x09" * 32)


def vote(kind: VoteKind, view: int, seat: int = 0, epoch: int = 0) -> Vote:
    block = ZERO_HASH if kind is VoteKind.NULLIFY else BLOCK
    ballot = Ballot(kind, Epoch(epoch), View(view), block)
    return Vote(ballot, seat, KEYS[seat].sign_digest(ballot_digest(CHAIN_ID, ballot)))


def certificate(kind: VoteKind, view: int, *seats: int, epoch: int = 0) -> Certificate:
    votes = [vote(kind, view, seat, epoch) for seat in seats]
    return Certificate(votes[0].ballot, seats, tuple(v.signature for v in votes))


def started(
    *records: Record, birth: JournalBirth | None = BIRTH, anchor: Anchor = GENESIS
) -> tuple[Simplex, tuple[Output, ...]]:
    core = Simplex(Identity(CHAIN_ID, MAINNET, KEYS[0]), anchor, TERM, records, birth)
    return core, core.step(Start(), at(0))


def at(ms: int) -> Now:
    return Now(ms, GENESIS_MS + ms)


def sent_votes(outputs: tuple[Output, ...]) -> list[Vote]:
    return [o.message for o in outputs if isinstance(o, Send) and isinstance(o.message, Vote)]


def term_of(epoch: int, started_ms: int) -> Term:
    committee = Committee(Epoch(epoch), TERM.committee.members, TERM.committee.seed)
    return Term(committee, Millis(started_ms))


@pytest.mark.parametrize(
    ("epoch", "started_ms", "birth", "may"),
    [
        (0, 0, JournalBirth(Millis(9_000), Height(0)), True),
        (0, 0, JournalBirth(Millis(9_000), Height(5)), False),
        (1, 8_000, JournalBirth(Millis(9_000), Height(0)), False),
        (1, 9_400, JournalBirth(Millis(9_000), Height(5)), False),
        (1, 9_500, JournalBirth(Millis(9_000), Height(5)), True),
        (1, 9_500, None, False),
    ],
)
def test_only_an_epoch_begun_after_the_journal_may_be_signed_in(
    epoch: int, started_ms: int, birth: JournalBirth | None, may: bool
) -> None:
    memory = memory_of((), birth, CHAIN_ID)
    assert memory.covers(term_of(epoch, started_ms), GENESIS, MAINNET) is may


def test_without_a_journal_nothing_is_ever_signed() -> None:
    core, _ = started(birth=None)
    for ms in range(0, 60_000, 500):
        outputs = core.step(Received(KEYS[1].address, vote(VoteKind.NULLIFY, 1, 1)), at(ms))
        assert not sent_votes(outputs)
        assert not any(isinstance(output, Persist) for output in outputs)
    assert core.is_silent


def first_vote_ms(birth: JournalBirth, *records: Record) -> int:
    """When a validator that hears nothing signs for the first time."""
    core, outputs = started(*records, birth=birth)
    for ms in range(0, 20_000, 50):
        if sent_votes(outputs):
            return ms
        outputs = core.step(Tick(), at(ms))
    raise AssertionError("it never signs")


def test_a_journal_born_on_an_old_network_listens_before_it_signs() -> None:
    epoch_ms = MAINNET.epoch_blocks * MAINNET.block_interval_ms
    prompt = first_vote_ms(JournalBirth(Millis(GENESIS_MS + epoch_ms - 1), Height(0)))
    late = JournalBirth(Millis(GENESIS_MS + epoch_ms), Height(0))
    assert prompt <= 1_500
    assert JOINING_MS <= first_vote_ms(late) <= JOINING_MS + 100
    assert first_vote_ms(late, vote(VoteKind.NOTARIZE, 1)) <= 1_500


@pytest.mark.parametrize(("tip_ms", "silent"), [(9_999, True), (10_000, False)])
def test_a_chain_much_older_than_its_journal_silences_its_first_epoch(
    tip_ms: int, silent: bool
) -> None:
    birth = JournalBirth(Millis(GENESIS_MS + 10_000 + FOUNDING_MS), Height(0))
    core, _ = started(birth=birth)
    assert not core.is_silent
    final = certificate(VoteKind.FINALIZE, 6, 1, 2, 3)
    anchor = Anchor(BLOCK, Height(3), Millis(GENESIS_MS + tip_ms), final)
    core.step(Synced(anchor, TERM), at(10))
    assert core.is_silent is silent
    assert started(birth=birth, anchor=anchor)[0].is_silent is silent


@pytest.mark.parametrize(
    ("epoch", "view", "silent"), [(0, 6, False), (0, 7, True), (1, 0, True), (1, 7, True)]
)
def test_a_chain_that_ends_below_what_the_journal_forgot_is_followed_in_silence(
    epoch: int, view: int, silent: bool
) -> None:
    final = certificate(VoteKind.FINALIZE, 6, 1, 2, 3)
    anchor = Anchor(BLOCK, Height(3), Millis(GENESIS_MS + 1500), final)
    core, _ = started(Forgotten(Epoch(epoch), View(view)), anchor=anchor)
    assert core.is_silent is silent


def test_a_remembered_nullify_forbids_the_finalize() -> None:
    nullified = vote(VoteKind.NULLIFY, 1)
    core, _ = started(nullified)
    notarized = certificate(VoteKind.NOTARIZE, 1, 1, 2, 3)
    outputs = core.step(Received(KEYS[1].address, notarized), at(10))
    assert core.view == 2
    assert VoteKind.FINALIZE not in [v.ballot.kind for v in sent_votes(outputs)]


def test_a_finalize_cut_short_by_a_crash_is_cast_on_return() -> None:
    """The notarization was durable, the vote was not."""
    core, outputs = started(certificate(VoteKind.NOTARIZE, 1, 1, 2, 3))
    assert [v.ballot.kind for v in sent_votes(outputs)] == [VoteKind.FINALIZE]
    assert core.view == 2


def test_a_signature_nobody_remembers_silences_for_the_epoch_across_restarts() -> None:
    core, _ = started()
    forgotten = certificate(VoteKind.NOTARIZE, 1, 0, 1, 2)
    outputs = core.step(Received(KEYS[1].address, forgotten), at(10))
    assert core.is_silent
    assert not sent_votes(outputs)
    (persisted,) = [o for o in outputs if isinstance(o, Persist)]
    assert Silenced(Epoch(0)) in persisted.records
    assert started(*persisted.records)[0].is_silent


def test_a_remembered_signature_in_a_certificate_does_not_silence() -> None:
    core, _ = started(vote(VoteKind.NOTARIZE, 1))
    core.step(Received(KEYS[1].address, certificate(VoteKind.NOTARIZE, 1, 0, 1, 2)), at(10))
    assert not core.is_silent


def test_another_chains_journal_is_refused() -> None:
    task = Build(CHAIN_ID, Height(1), Epoch(0), View(1), Millis(GENESIS_MS), is_empty=True)
    block = make_block(task, ZERO_HASH, KEYS[0].address, ())
    own = Proposal(block, View(1), View(0), vote(VoteKind.NOTARIZE, 1))
    started(own)
    header = replace(block.header, chain_id=BLOCK)
    with pytest.raises(Corrupt, match="journal_foreign"):
        started(replace(own, block=replace(block, header=header)))


def test_another_epochs_records_say_nothing_here() -> None:
    core, _ = started(
        vote(VoteKind.NULLIFY, 1, epoch=1),
        certificate(VoteKind.NULLIFY, 1, 1, 2, 3, epoch=1),
        Silenced(Epoch(1)),
    )
    assert core.view == 1
    assert not core.is_silent


def test_a_journal_that_contradicts_itself_stops_the_node() -> None:
    with pytest.raises(InvariantBroken, match="conflicting"):
        started(vote(VoteKind.NULLIFY, 1), vote(VoteKind.FINALIZE, 1))


def test_the_finalized_tip_bounds_what_is_signed_again() -> None:
    final = certificate(VoteKind.FINALIZE, 6, 1, 2, 3)
    anchor = Anchor(BLOCK, Height(3), Millis(GENESIS_MS + 1500), final)
    core, _ = started(vote(VoteKind.NOTARIZE, 2), anchor=anchor)
    assert core.view == 7
    assert core.tip == anchor


def test_records_know_their_position() -> None:
    assert position_of(vote(VoteKind.NULLIFY, 4, epoch=2)) == (2, 4)
    assert position_of(certificate(VoteKind.NOTARIZE, 5, 1, 2, 3)) == (0, 5)
    assert position_of(Silenced(Epoch(3))) == (3, UINT64_MAX)
    assert position_of(Forgotten(Epoch(3), View(9))) == (3, 9)
    assert replace(BIRTH, height=Height(1)) != BIRTH


def test_an_answer_to_the_last_blocks_finalization_may_come_as_a_sync() -> None:
    """The driver stored the epoch's last block itself while the core was finalizing it."""
    final = certificate(VoteKind.FINALIZE, 6, 1, 2, 3)
    last = Anchor(BLOCK, Height(MAINNET.epoch_blocks), Millis(GENESIS_MS + 1500), final)
    core, _ = started(anchor=last)
    assert core.instance.is_finished
    core.step(Synced(last, term_of(1, GENESIS_MS + 1500)), at(10))
    assert core.epoch == 1
    assert core.view == 1


def test_a_sync_to_where_we_are_changes_nothing() -> None:
    """The certificate of the epoch before is no certificate of this one."""
    final = certificate(VoteKind.FINALIZE, 6, 1, 2, 3)
    last = Anchor(BLOCK, Height(MAINNET.epoch_blocks), Millis(GENESIS_MS + 1500), final)
    core, _ = started(anchor=last)
    core.step(Synced(last, term_of(1, GENESIS_MS + 1500)), at(10))
    core.step(Synced(last, term_of(1, GENESIS_MS + 1500)), at(20))
    assert (core.epoch, core.view) == (1, 1)
    assert core.instance.finalization is None
