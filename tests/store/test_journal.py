"""The journal keeps every record that `append` returned for, whatever a crash does to its tail."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from p2p_aios.consensus.records import Forgotten, JournalBirth, Record, Silenced
from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import Corrupt, Unavailable
from p2p_aios.store.journal import Journal, open_journal
from p2p_aios.types.block import Block, Header, Proposal, transactions_root
from p2p_aios.types.vote import Ballot, Certificate, Vote, VoteKind
from p2p_aios.units import (
    UINT64_MAX,
    ZERO_HASH,
    Address,
    Epoch,
    Hash,
    Height,
    Millis,
    Signature,
    View,
)

BIRTH = JournalBirth(Millis(1_700_000_000_000), Height(7))
SIGNATURE = Signature(b"\x01" * 64)


def vote(view: int, epoch: int = 0) -> Vote:
    ballot = Ballot(VoteKind.NULLIFY, Epoch(epoch), View(view), ZERO_HASH)
    return Vote(ballot, 0, SIGNATURE)


def proposal(view: int, body: tuple[bytes, ...] = (b"x",)) -> Proposal:
    header = Header(
        chain_id=sha256(b"chain"),
        height=Height(view),
        epoch=Epoch(0),
        view=View(view),
        parent=ZERO_HASH,
        timestamp_ms=Millis(1),
        proposer=Address(bytes(20)),
        reveal=ZERO_HASH,
        tx_root=transactions_root(body),
        receipts_root=ZERO_HASH,
        state_root=ZERO_HASH,
        pash_root=ZERO_HASH,
        committee_hash=ZERO_HASH,
    )
    return Proposal(Block(header, body), View(view), View(view - 1), vote(view))


def certificate(view: int) -> Certificate:
    ballot = Ballot(VoteKind.NOTARIZE, Epoch(0), View(view), Hash(b"\x02" * 32))
    return Certificate(ballot, (0, 2), (SIGNATURE, SIGNATURE))


def forgotten(view: int) -> Forgotten:
    return Forgotten(Epoch(0), View(view))


def reopened(folder: Path) -> list[Record]:
    journal = open_journal(folder, BIRTH)
    records = list(journal.replay())
    journal.close()
    return records


def written(folder: Path, *batches: list[Record], segment_bytes_max: int = 1 << 20) -> Journal:
    journal = open_journal(folder, BIRTH, segment_bytes_max)
    for batch in batches:
        journal.append(batch)
    return journal


def the_segment(folder: Path) -> Path:
    (path,) = folder.glob("*.journal")
    return path


def test_what_was_appended_comes_back_in_order(tmp_path: Path) -> None:
    records = [proposal(1), vote(1), certificate(1), Silenced(Epoch(0))]
    journal = written(tmp_path, records[:2], [], records[2:])
    assert list(journal.replay()) == records
    journal.append([vote(2)])
    journal.close()
    assert reopened(tmp_path) == [*records, vote(2)]


def test_the_birth_of_a_journal_outlives_reopening_and_cutting(tmp_path: Path) -> None:
    journal = written(tmp_path, [vote(1)], [vote(2)], segment_bytes_max=1)
    journal.cut((Epoch(0), View(2)))
    journal.close()
    later = replace(BIRTH, height=Height(99), wall_ms=Millis(1))
    again = open_journal(tmp_path, later)
    assert again.birth == BIRTH
    again.close()


def test_a_torn_last_append_is_cut_off_whole_at_every_length(tmp_path: Path) -> None:
    journal = written(tmp_path, [vote(1)])
    whole = the_segment(tmp_path).stat().st_size
    journal.append([proposal(2), vote(2)])
    journal.close()
    data = the_segment(tmp_path).read_bytes()
    for length in [*range(whole, whole + 12), *range(whole + 12, len(data), 37), len(data) - 1]:
        the_segment(tmp_path).write_bytes(data[:length])
        assert reopened(tmp_path) == [vote(1)]
        assert the_segment(tmp_path).stat().st_size == whole


def test_a_torn_append_whose_pages_never_came_is_cut_off(tmp_path: Path) -> None:
    journal = written(tmp_path, [vote(1)])
    whole = the_segment(tmp_path).stat().st_size
    journal.append([proposal(2), vote(2)])
    journal.close()
    data = bytearray(the_segment(tmp_path).read_bytes())
    data[whole : whole + 40] = bytes(40)
    the_segment(tmp_path).write_bytes(data)
    assert reopened(tmp_path) == [vote(1)]


def test_appending_goes_on_after_a_torn_tail(tmp_path: Path) -> None:
    written(tmp_path, [vote(1)], [vote(2)]).close()
    path = the_segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    journal = written(tmp_path, [vote(3)])
    assert list(journal.replay()) == [vote(1), vote(3)]
    journal.close()
    assert reopened(tmp_path) == [vote(1), vote(3)]


def test_damage_before_the_tail_is_corrupt_wherever_it_is(tmp_path: Path) -> None:
    journal = written(tmp_path, [vote(1)], [vote(2)])
    before_last = the_segment(tmp_path).stat().st_size
    journal.append([vote(3)])
    journal.close()
    data = the_segment(tmp_path).read_bytes()
    for position in range(0, before_last, 7):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        the_segment(tmp_path).write_bytes(damaged)
        with pytest.raises(Corrupt, match="journal_damaged"):
            reopened(tmp_path)
    the_segment(tmp_path).write_bytes(data)
    assert reopened(tmp_path) == [vote(1), vote(2), vote(3)]


def test_damage_in_an_older_segment_is_corrupt_even_at_its_end(tmp_path: Path) -> None:
    written(tmp_path, [vote(1)], [vote(2)], segment_bytes_max=1).close()
    first = min(tmp_path.glob("*.journal"))
    first.write_bytes(first.read_bytes()[:-1])
    with pytest.raises(Corrupt, match="journal_damaged"):
        reopened(tmp_path)


def test_a_missing_segment_is_corrupt(tmp_path: Path) -> None:
    written(tmp_path, [vote(1)], [vote(2)], [vote(3)], segment_bytes_max=1).close()
    sorted(tmp_path.glob("*.journal"))[1].unlink()
    with pytest.raises(Corrupt, match="missing"):
        reopened(tmp_path)


def test_a_crash_while_a_segment_is_begun_loses_nothing(tmp_path: Path) -> None:
    written(tmp_path, [vote(1)], segment_bytes_max=1).close()
    begun = max(tmp_path.glob("*.journal"))
    header = begun.read_bytes()
    for length in range(len(header)):
        begun.write_bytes(header[:length])
        assert reopened(tmp_path) == [vote(1)]
        assert not begun.exists()


def test_bytes_that_strangers_choose_never_pass_for_a_frame(tmp_path: Path) -> None:
    """A transaction that holds a copy of a real frame, inside a torn append, stays torn."""
    journal = written(tmp_path, [vote(1)])
    start = the_segment(tmp_path).stat().st_size
    journal.append([vote(2)])
    frame = the_segment(tmp_path).read_bytes()[start:]
    journal.append([proposal(3, (frame * 3,)), vote(3)])
    journal.close()
    path = the_segment(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    assert reopened(tmp_path) == [vote(1), vote(2)]


def test_cut_deletes_only_old_segments_with_nothing_newer(tmp_path: Path) -> None:
    batches = [[vote(1)], [vote(9)], [vote(2)], [vote(3)]]
    journal = written(tmp_path, *batches, segment_bytes_max=1)
    journal.cut((Epoch(0), View(3)))
    assert list(journal.replay()) == [vote(9), vote(2), vote(3), forgotten(3)]
    journal.cut((Epoch(0), View(9)))
    journal.append([vote(10)])
    assert list(journal.replay()) == [forgotten(9), vote(10)]
    journal.close()
    assert reopened(tmp_path) == [forgotten(9), vote(10)]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("deletions", [0, 1, 2, 3])
def test_a_journal_says_what_it_forgot_before_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deletions: int
) -> None:
    batches = [[vote(view)] for view in (1, 2, 3, 4)]
    journal = written(tmp_path, *batches, segment_bytes_max=1)
    real, left = Path.unlink, [None] * deletions

    def unlink(path: Path) -> None:
        if not left:
            raise Killed
        left.pop()
        real(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        try:
            journal.cut((Epoch(0), View(3)))
        except Killed:
            assert deletions < 3
    journal.close()
    kept = [vote(view) for view in (1, 2, 3, 4)][deletions:]
    assert reopened(tmp_path) == [*kept, forgotten(3)]


def test_nothing_is_said_to_be_forgotten_where_nothing_goes(tmp_path: Path) -> None:
    journal = written(tmp_path, [vote(1)])
    journal.cut((Epoch(0), View(9)))
    journal.close()
    assert reopened(tmp_path) == [vote(1)]


@pytest.mark.parametrize("call", ["fsync", "write"])
def test_a_disk_that_fills_up_at_a_new_segment_closes_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """The record itself is durable; the segment after it cannot be begun."""
    journal = written(tmp_path, segment_bytes_max=1)
    real = getattr(os, call)
    calls: list[int] = []

    def fill_up(*arguments: object) -> object:
        calls.append(1)
        if call == "fsync" or len(calls) > 1:
            raise OSError(28, "No space left on device")
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fill_up)
        with pytest.raises(Corrupt, match="journal_unwritable"):
            journal.append([vote(1)])
    assert reopened(tmp_path) == [vote(1)]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Corrupt, match="journal_unwritable"):
        open_journal(tmp_path / "file" / "journal", BIRTH)


def test_what_a_reopened_journal_tells_is_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever wrote it may have been killed between writing and syncing."""
    written(tmp_path, [vote(1)]).close()
    synced: list[int] = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: (synced.append(os.fstat(file).st_ino), real(file))
    )
    open_journal(tmp_path, BIRTH).close()
    assert the_segment(tmp_path).stat().st_ino in synced


def test_opening_a_journal_in_use_touches_nothing(tmp_path: Path) -> None:
    """What looks like a torn segment may be one that its owner is just beginning."""
    journal = written(tmp_path, [vote(1)])
    begun = tmp_path / f"{2:016d}.journal"
    begun.write_bytes(b"")
    with pytest.raises(Unavailable, match="journal_in_use"):
        open_journal(tmp_path, BIRTH)
    assert begun.exists()
    journal.close()


def test_a_later_epoch_outranks_any_view_of_an_earlier_one(tmp_path: Path) -> None:
    journal = written(tmp_path, [vote(1, epoch=1)], [vote(2, epoch=1)], segment_bytes_max=1)
    journal.cut((Epoch(0), View(UINT64_MAX)))
    assert list(journal.replay()) == [vote(1, epoch=1), vote(2, epoch=1)]
    journal.close()


def test_two_validators_cannot_share_a_journal(tmp_path: Path) -> None:
    journal = written(tmp_path, [vote(1)])
    with pytest.raises(Unavailable, match="journal_in_use"):
        open_journal(tmp_path, BIRTH)
    journal.close()
    assert reopened(tmp_path) == [vote(1)]


def test_a_disk_that_refuses_closes_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = written(tmp_path, [vote(1)])

    def refuse(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdatasync", refuse)
        with pytest.raises(Corrupt, match="journal_unwritable"):
            journal.append([vote(2)])
    assert reopened(tmp_path)[:1] == [vote(1)]


def test_append_is_durable_before_it_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (synced.append(file), real(file))[1])
    journal = written(tmp_path, [vote(1), vote(2)])
    assert len(synced) == 1
    journal.close()
