"""The consensus journal: an append-only write-ahead log of what a validator must not forget.

A folder of numbered segments. A segment is a header and frames; one `append` is one frame, so that
what was made durable together is found again together or not at all.

    header   magic 8 | salt 8 | sequence 8 | birth wall_ms 8 | birth height 8 | crc32 4
    frame    bytes 4 | crc32 4 | payload: for each record, bytes 4 | canonical encoding, tag first

All integers are big-endian. A frame's checksum also covers the segment's random salt and the
frame's offset, so that bytes inside a record, which strangers choose, never pass for a frame. Only
the last frame of the last segment can be torn by a crash, for every append is durable before it
returns; it is cut off when the journal is opened. Damage anywhere else is `Corrupt`.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2p_aios.consensus.records import (
    JournalBirth,
    Position,
    Record,
    decode_record,
    encode_record,
    position_of,
)
from p2p_aios.errors import Corrupt, Invalid, Unavailable, invariant
from p2p_aios.units import Epoch, Height, Millis, View

SEGMENT_BYTES_MAX: Final = 16 << 20
"""A segment that has grown past this is closed and another begun."""
FRAME_BYTES_MAX: Final = 64 << 20
"""Largest payload of a frame: what one step of consensus may have to remember."""

_MAGIC: Final = b"AIOSJRN1"
_HEADER: Final = struct.Struct(">8s8sQQQ")
_CHECKSUM: Final = struct.Struct(">I")
_HEADER_BYTES: Final = _HEADER.size + _CHECKSUM.size
_FRAME: Final = struct.Struct(">II")
_LENGTH: Final = struct.Struct(">I")
_NOWHERE: Final[Position] = (Epoch(0), View(0))


@dataclass(slots=True)
class _Segment:
    path: Path
    sequence: int
    salt: bytes
    bytes: int
    newest: Position
    """Highest position of any record in it."""


class Journal:
    """Opened by `open_journal`; for one process and one thread at a time."""

    def __init__(self, folder: Path, birth: JournalBirth, segment_bytes_max: int) -> None:
        self.birth = birth
        """When and where the journal was first created."""
        self._folder = folder
        self._segment_bytes_max = segment_bytes_max
        self._segments: list[_Segment] = []
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
        payload = b"".join(_framed(encode_record(record)) for record in records)
        invariant(len(payload) <= FRAME_BYTES_MAX, "one step remembers a bounded amount")
        segment = self._segments[-1]
        checksum = _frame_checksum(segment.salt, segment.bytes, payload)
        frame = _FRAME.pack(len(payload), checksum) + payload
        try:
            _write_all(self._file, frame)
            os.fdatasync(self._file)
        except OSError as error:
            self.close()
            raise Corrupt("journal_unwritable", f"{segment.path}: {error}") from None
        segment.bytes += len(frame)
        segment.newest = max(segment.newest, *(position_of(record) for record in records))
        if segment.bytes > self._segment_bytes_max:
            self._begin_segment(segment.sequence + 1)

    def replay(self) -> Iterator[Record]:
        """Every record held, oldest first. Raises Corrupt(`journal_damaged`)."""
        for segment in tuple(self._segments):
            for _, payload in _frames(segment.path.read_bytes(), segment.salt, segment.path):
                yield from _records(payload, segment.path)

    def cut(self, position: Position) -> None:
        """Delete the oldest segments that hold nothing above `position`.

        Only for the position of a finalized block that is on disk elsewhere: what was signed at or
        below it is then forgotten.
        """
        while len(self._segments) > 1 and self._segments[0].newest <= position:
            self._segments.pop(0).path.unlink()
        _sync_folder(self._folder)

    def close(self) -> None:
        """Release the folder. Closing twice is harmless."""
        self._close_file()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _close_file(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _begin_segment(self, sequence: int) -> None:
        self._close_file()
        salt = os.urandom(8)
        path = self._folder / f"{sequence:016d}.journal"
        fields = _HEADER.pack(_MAGIC, salt, sequence, self.birth.wall_ms, self.birth.height)
        header = fields + _CHECKSUM.pack(zlib.crc32(fields))
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        _write_all(self._file, header)
        os.fsync(self._file)
        _sync_folder(self._folder)
        self._segments.append(_Segment(path, sequence, salt, len(header), _NOWHERE))

    def _reopen(self, paths: list[Path]) -> None:
        for path in paths:
            self._segments.append(_read_segment(path, path is paths[-1]))
        sequences = [segment.sequence for segment in self._segments]
        if sequences != list(range(sequences[0], sequences[0] + len(sequences))):
            raise Corrupt("journal_damaged", f"{self._folder}: a segment is missing")
        last = self._segments[-1]
        self._file = os.open(last.path, os.O_WRONLY | os.O_APPEND)
        if os.fstat(self._file).st_size > last.bytes:
            os.ftruncate(self._file, last.bytes)
            os.fsync(self._file)


def open_journal(
    folder: Path, birth: JournalBirth, segment_bytes_max: int = SEGMENT_BYTES_MAX
) -> Journal:
    """Open the journal in `folder`, or create it with this `birth`.

    A torn last append is cut off. Raises Corrupt(`journal_damaged`) for any other damage, and
    Unavailable(`journal_in_use`) where another process has it open: two would vote as one.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    paths = sorted(folder.glob("*.journal"))
    if paths and _is_torn_header(paths[-1]):
        # The crash came while this segment was being begun: nothing was appended to it.
        paths.pop().unlink()
    if paths:
        born = _read_header(paths[0], paths[0].read_bytes())[2]
        journal = Journal(folder, born, segment_bytes_max)
        try:
            journal._reopen(paths)
        except Corrupt:
            journal.close()
            raise
    else:
        journal = Journal(folder, birth, segment_bytes_max)
        journal._begin_segment(1)
    return journal


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


def _framed(encoded: bytes) -> bytes:
    return _LENGTH.pack(len(encoded)) + encoded


def _frame_checksum(salt: bytes, offset: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(salt + offset.to_bytes(8, "big")))


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


def _is_torn_header(path: Path) -> bool:
    data = path.read_bytes()
    if len(data) < _HEADER_BYTES:
        return True
    # Written and synced at once: where it is whole but wrong and nothing follows, it was torn too.
    return len(data) == _HEADER_BYTES and not _has_valid_header(data)


def _has_valid_header(data: bytes) -> bool:
    fields, checksum = data[: _HEADER.size], data[_HEADER.size : _HEADER_BYTES]
    return fields.startswith(_MAGIC) and checksum == _CHECKSUM.pack(zlib.crc32(fields))


def _read_header(path: Path, data: bytes) -> tuple[bytes, int, JournalBirth]:
    """Salt, sequence and birth."""
    if len(data) < _HEADER_BYTES or not _has_valid_header(data):
        raise Corrupt("journal_damaged", f"{path}: not a journal segment, or its header is damaged")
    _, salt, sequence, wall_ms, height = _HEADER.unpack_from(data)
    return salt, sequence, JournalBirth(Millis(wall_ms), Height(height))


def _read_segment(path: Path, is_last: bool) -> _Segment:
    data = path.read_bytes()
    salt, sequence, _ = _read_header(path, data)
    end, newest = _HEADER_BYTES, _NOWHERE
    for frame_end, payload in _frames(data, salt, path, may_be_torn=is_last):
        newest = max([newest, *(position_of(record) for record in _records(payload, path))])
        end = frame_end
    return _Segment(path, sequence, salt, end, newest)


def _frames(
    data: bytes, salt: bytes, path: Path, may_be_torn: bool = False
) -> Iterator[tuple[int, bytes]]:
    """Each frame's end and payload; a torn last one ends the walk where that is allowed."""
    offset = _HEADER_BYTES
    while offset < len(data):
        payload = _frame_at(data, offset, salt)
        if payload is None:
            if may_be_torn and not _has_frame_after(data, offset, salt):
                return
            raise Corrupt("journal_damaged", f"{path}: damaged at byte {offset}, before its end")
        offset += _FRAME.size + len(payload)
        yield offset, payload


def _frame_at(data: bytes, offset: int, salt: bytes) -> bytes | None:
    if offset + _FRAME.size > len(data):
        return None
    length, checksum = _FRAME.unpack_from(data, offset)
    payload = data[offset + _FRAME.size : offset + _FRAME.size + length]
    is_whole = 0 < length <= FRAME_BYTES_MAX and len(payload) == length
    return payload if is_whole and _frame_checksum(salt, offset, payload) == checksum else None


def _has_frame_after(data: bytes, offset: int, salt: bytes) -> bool:
    """Whether a whole frame follows a damaged one: then it is damage, not a torn append."""
    return any(_frame_at(data, at, salt) is not None for at in range(offset + 1, len(data)))


def _records(payload: bytes, path: Path) -> Iterator[Record]:
    offset = 0
    while offset < len(payload):
        (length,) = _LENGTH.unpack_from(payload, offset)
        offset += _LENGTH.size
        try:
            yield decode_record(payload[offset : offset + length])
        except Invalid as error:
            raise Corrupt("journal_damaged", f"{path}: {error}") from None
        offset += length
