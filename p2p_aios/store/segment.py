"""A journal segment's bytes: a header, then frames, one for each append.

    header   magic 8 | salt 8 | sequence 8 | birth wall_ms 8 | birth height 8 | crc32 4
    frame    bytes 4 | crc32 4 | payload: for each record, bytes 4 | canonical encoding, tag first

All integers are big-endian. A frame's checksum also covers the segment's random salt and the
frame's offset, so that bytes inside a record, which strangers choose, never pass for a frame.
"""

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
from p2p_aios.errors import Corrupt, Invalid, invariant
from p2p_aios.units import Epoch, Height, Millis, View

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
class Segment:
    path: Path
    sequence: int
    salt: bytes
    size: int
    """Up to the end of its last whole frame."""
    newest: Position = _NOWHERE
    """Highest position of any record in it."""

    def note(self, frame: bytes, records: Sequence[Record]) -> None:
        """Take an appended frame into account."""
        self.size += len(frame)
        self.newest = max(self.newest, *(position_of(record) for record in records))


def encode_header(salt: bytes, sequence: int, birth: JournalBirth) -> bytes:
    fields = _HEADER.pack(_MAGIC, salt, sequence, birth.wall_ms, birth.height)
    return fields + _CHECKSUM.pack(zlib.crc32(fields))


def encode_frame(segment: Segment, records: Sequence[Record]) -> bytes:
    """The frame that holds `records` at the segment's end."""
    payload = b"".join(_framed(encode_record(record)) for record in records)
    invariant(len(payload) <= FRAME_BYTES_MAX, "one step remembers a bounded amount")
    checksum = _frame_checksum(segment.salt, segment.size, payload)
    return _FRAME.pack(len(payload), checksum) + payload


def read_segment(path: Path, *, is_last: bool) -> Segment:
    """The segment in a file; only the last one may end in a torn frame, which is left out.

    Raises Corrupt(`journal_damaged`).
    """
    data = path.read_bytes()
    salt, sequence, _ = _read_header(path, data)
    segment = Segment(path, sequence, salt, _HEADER_BYTES)
    for frame_end, payload in _frames(data, salt, path, may_be_torn=is_last):
        positions = [position_of(record) for record in _records(payload, path)]
        segment.newest = max(segment.newest, *positions)
        segment.size = frame_end
    return segment


def read_records(segment: Segment) -> Iterator[Record]:
    """Every record of a segment whose end is whole. Raises Corrupt(`journal_damaged`)."""
    for _, payload in _frames(segment.path.read_bytes(), segment.salt, segment.path):
        yield from _records(payload, segment.path)


def read_birth(path: Path) -> JournalBirth:
    """Raises Corrupt(`journal_damaged`)."""
    return _read_header(path, path.read_bytes())[2]


def is_torn_header(path: Path) -> bool:
    """Whether a crash came while the segment was being begun."""
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


def _framed(encoded: bytes) -> bytes:
    return _LENGTH.pack(len(encoded)) + encoded


def _frame_checksum(salt: bytes, offset: int, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(salt + offset.to_bytes(8, "big")))


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
