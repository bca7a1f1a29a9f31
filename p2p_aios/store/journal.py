"""The consensus journal: an append-only write-ahead log of what a validator must not forget.

A folder of numbered segments (`segment`); one `append` is one frame, so that what was made durable
together is found again together or not at all. Only the last frame of the last segment can be torn
by a crash, for every append is durable before it returns; it is cut off when the journal is opened.
Damage anywhere else is `Corrupt`.

Segments go once what they hold is final on disk elsewhere. That elsewhere may be lost while the
journal is kept, so the journal says up to where it forgot before it does.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from p2p_aios.consensus.records import Forgotten, JournalBirth, Position, Record
from p2p_aios.errors import Corrupt, Unavailable, invariant
from p2p_aios.store.segment import (
    Segment,
    encode_frame,
    encode_header,
    is_torn_header,
    read_birth,
    read_records,
    read_segment,
)

SEGMENT_BYTES_MAX: Final = 16 << 20
"""A segment that has grown past this is closed and another begun."""


class Journal:
    """Opened by `open_journal`; for one process and one thread at a time."""

    def __init__(self, folder: Path, birth: JournalBirth, segment_bytes_max: int) -> None:
        """For `open_journal` only."""
        self.birth = birth
        """When and where the journal was first created."""
        self._folder = folder
        self._segment_bytes_max = segment_bytes_max
        self._segments: list[Segment] = []
        self._file: int | None = None
        self._lock = _lock_folder(folder)

    def append(self, records: Sequence[Record]) -> None:
        """Make records durable, all or none of them, before returning.

        Raises Corrupt(`journal_unwritable`) where the disk refuses; the journal is then closed,
        for what it holds past the last frame is unknown until it is opened again.
        """
        if not records:
            return
        invariant(self._file is not None, "the journal is open")
        assert self._file is not None
        segment = self._segments[-1]
        frame = encode_frame(segment, records)
        with self._closing_if_refused():
            _write_all(self._file, frame)
            os.fdatasync(self._file)
            segment.note(frame, records)
            if segment.size > self._segment_bytes_max:
                self._begin_segment(segment.sequence + 1)

    def replay(self) -> Iterator[Record]:
        """Every record held, oldest first. Raises Corrupt(`journal_damaged`)."""
        for segment in tuple(self._segments):
            yield from read_records(segment)

    def cut(self, position: Position) -> None:
        """Delete the oldest segments that hold nothing above `position`.

        Only for the position of a finalized block that is on disk elsewhere: what was signed at or
        below it is then forgotten, which the journal says from then on. Raises as `append`.
        """
        passed = 0
        while self._segments[passed].newest <= position and passed + 1 < len(self._segments):
            passed += 1
        if not passed:
            return
        self.append([Forgotten(*position)])
        with self._closing_if_refused():
            for segment in self._segments[:passed]:
                segment.path.unlink()
            _sync_folder(self._folder)
        del self._segments[:passed]

    def close(self) -> None:
        """Release the folder. Closing twice is harmless."""
        self._close_file()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def _closing_if_refused(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.close()
            raise _unwritable(self._folder, error) from None

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _begin_segment(self, sequence: int) -> None:
        self._close_file()
        salt = os.urandom(8)
        path = self._folder / f"{sequence:016d}.journal"
        header = encode_header(salt, sequence, self.birth)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND
        self._file = os.open(path, flags, 0o600)
        _write_all(self._file, header)
        os.fsync(self._file)
        _sync_folder(self._folder)
        self._segments.append(Segment(path, sequence, salt, len(header)))

    def _reopen(self, paths: list[Path]) -> None:
        for path in paths:
            self._segments.append(read_segment(path, is_last=path is paths[-1]))
        sequences = [segment.sequence for segment in self._segments]
        if sequences != list(range(sequences[0], sequences[0] + len(sequences))):
            raise Corrupt("journal_damaged", f"{self._folder}: a segment is missing")
        last = self._segments[-1]
        self._file = os.open(last.path, os.O_WRONLY | os.O_APPEND)
        if os.fstat(self._file).st_size > last.size:
            os.ftruncate(self._file, last.size)
        # Whoever wrote it may have died before it was durable, and what is read here is acted on.
        os.fsync(self._file)
        _sync_folder(self._folder)


def open_journal(
    folder: Path, birth: JournalBirth, segment_bytes_max: int = SEGMENT_BYTES_MAX
) -> Journal:
    """Open the journal in `folder`, or create it with this `birth`.

    A torn last append is cut off. Raises Corrupt: `journal_damaged` for any other damage,
    `journal_unwritable` where the disk refuses; Unavailable(`journal_in_use`) where another process
    has it open: two would vote as one.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        journal = Journal(folder, birth, segment_bytes_max)
        try:
            _fill(journal, folder)
        except BaseException:
            journal.close()
            raise
    except OSError as error:
        raise _unwritable(folder, error) from None
    return journal


def _fill(journal: Journal, folder: Path) -> None:
    """Take up the segments found, or begin the first."""
    paths = sorted(folder.glob("*.journal"))
    if paths and is_torn_header(paths[-1]):
        # The crash came while this segment was being begun: nothing was appended to it.
        paths.pop().unlink()
    if paths:
        journal.birth = read_birth(paths[0])
        journal._reopen(paths)
    else:
        journal._begin_segment(1)


def _lock_folder(folder: Path) -> int | None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise Unavailable(
            "journal_in_use", f"{folder} is open in another process; stop that validator first"
        ) from None
    return handle


def _unwritable(folder: Path, error: OSError) -> Corrupt:
    return Corrupt("journal_unwritable", f"{folder}: {error.strerror or error}")


def _write_all(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
