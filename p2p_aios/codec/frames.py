"""Frames on a byte stream: a length, then that many bytes.

A big-endian u32 is the length on our own streams, pipes and sockets; an unsigned LEB128 on
gossip's, whose form libp2p sets.
"""

from collections.abc import Callable
from typing import Final

from p2p_aios.errors import Invalid

LENGTH_BYTES: Final = 4
"""Of a u32 length."""
VARINT_BYTES_MAX: Final = 5
"""Longest LEB128 length taken from a peer: enough for 2^35."""

Header = tuple[int, int]
"""(bytes of the header, bytes of the body behind it)."""


def encode_frame(body: bytes) -> bytes:
    """u32 length, then the body."""
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def read_u32_header(buffer: bytearray) -> Header | None:
    """A big-endian u32 length; None until it is complete."""
    if len(buffer) < LENGTH_BYTES:
        return None
    return LENGTH_BYTES, int.from_bytes(buffer[:LENGTH_BYTES], "big")


def read_varint_header(buffer: bytearray) -> Header | None:
    """An unsigned LEB128 length; None until it is complete.

    Raises Invalid(`frame_malformed`) for one longer than `VARINT_BYTES_MAX`.
    """
    length = 0
    for index, byte in enumerate(buffer[:VARINT_BYTES_MAX]):
        length |= (byte & 0x7F) << (7 * index)
        if not byte & 0x80:
            return index + 1, length
    if len(buffer) >= VARINT_BYTES_MAX:
        raise Invalid("frame_malformed", "the length prefix of a frame is too long")
    return None


def check_length(length: int, bytes_max: int) -> int:
    """`length` again; raises Invalid(`frame_too_large`)."""
    if length > bytes_max:
        raise Invalid(
            "frame_too_large",
            f"a frame of {length} bytes was announced; the limit is {bytes_max}",
            length=length,
            limit=bytes_max,
        )
    return length


class FrameBuffer:
    """Cuts the bytes of a stream into frames.

    Holds at most one incomplete frame and what was fed last, so its size is bounded by the
    largest frame plus the largest read.
    """

    def __init__(
        self,
        frame_bytes_max: int,
        read_header: Callable[[bytearray], Header | None] = read_u32_header,
    ) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._read_header = read_header
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next complete frame's body, or None until more is fed.

        Raises Invalid(`frame_too_large`) as soon as a header announces too much, and what
        `read_header` raises.
        """
        header = self._read_header(self._buffer)
        if header is None:
            return None
        start, length = header
        end = start + check_length(length, self._frame_bytes_max)
        if len(self._buffer) < end:
            return None
        # Frames may be large: one copy, not two.
        body = bytes(memoryview(self._buffer)[start:end])
        del self._buffer[:end]
        return body
