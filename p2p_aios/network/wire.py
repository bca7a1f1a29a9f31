"""Frames on a byte stream, and a libp2p stream behind our own errors."""

from collections.abc import Callable
from typing import Any, Final

import trio
from libp2p.network.stream.exceptions import StreamEOF

from p2p_aios.errors import Invalid, Unavailable

FRAME_BYTES_MAX: Final = 1 << 20
"""Largest frame on any stream."""
READ_BYTES_MAX: Final = 256 * 1024
"""Most bytes taken from a stream at once."""
U32_BYTES: Final = 4
RESET_S_MAX: Final = 1.0
"""Time for telling the other side of a reset."""
VARINT_BYTES_MAX: Final = 5
"""Longest length prefix taken from a peer: enough for 2^35."""

Header = tuple[int, int]
"""(bytes of the header, bytes of the body behind it)."""


def read_u32_header(buffer: bytearray) -> Header | None:
    """A big-endian u32 length; None until it is complete."""
    if len(buffer) < U32_BYTES:
        return None
    return U32_BYTES, int.from_bytes(buffer[:U32_BYTES], "big")


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


def encode_frame(body: bytes) -> bytes:
    """u32 length, then the body."""
    return len(body).to_bytes(U32_BYTES, "big") + body


class FrameBuffer:
    """Cuts the bytes of a stream into frames; sans-I/O.

    Holds at most one incomplete frame and what was fed last, so its size is bounded by the
    largest frame plus the largest read.
    """

    def __init__(
        self,
        frame_bytes_max: int = FRAME_BYTES_MAX,
        read_header: Callable[[bytearray], Header | None] = read_u32_header,
    ) -> None:
        self._frame_bytes_max = frame_bytes_max
        self._read_header = read_header
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def next_frame(self) -> bytes | None:
        """The next complete frame's body, or None until more is fed.

        Raises Invalid(`frame_too_large`) as soon as a header announces too much.
        """
        header = self._read_header(self._buffer)
        if header is None:
            return None
        start, length = header
        if length > self._frame_bytes_max:
            raise Invalid(
                "frame_too_large",
                f"a frame of {length} bytes was announced; the limit is {self._frame_bytes_max}",
                length=length,
                limit=self._frame_bytes_max,
            )
        end = start + length
        if len(self._buffer) < end:
            return None
        body = bytes(self._buffer[start:end])
        del self._buffer[:end]
        return body

    @property
    def is_empty(self) -> bool:
        """Whether the stream stands between two frames."""
        return not self._buffer


class Stream:
    """One libp2p stream: bytes both ways, `b""` at the end, Unavailable when it broke."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.peer: bytes = stream.muxed_conn.peer_id.to_bytes()
        """Binary peer id of the other side."""
        self.connection: Any = stream.muxed_conn
        """The connection underneath, to be aborted on a stall."""

    async def read(self) -> bytes:
        """Whatever has arrived, at least one byte; `b""` at the end of the stream, which after a
        reset by the other side may look the same: a protocol must mark its own end.

        Raises Unavailable(`stream_lost`).
        """
        try:
            return bytes(await self._stream.read(READ_BYTES_MAX))
        except StreamEOF:
            return b""
        except Exception as error:  # noqa: BLE001 - a dozen types, all meaning: it is gone
            raise _lost(error) from None

    async def write(self, data: bytes) -> None:
        """Returns once the bytes are on their way; that is not a delivery.

        Cancelling is safe for the connection (see `connection.py`) but leaves this stream torn:
        reset it. Raises Unavailable(`stream_lost`).
        """
        try:
            await self._stream.write(data)
        except Exception as error:  # noqa: BLE001 - as in read
            raise _lost(error) from None

    async def close(self) -> None:
        """Say that no more will be written, and forget the stream."""
        try:
            await self._stream.close()
        except Exception:  # noqa: BLE001 - closing what is already gone is no error
            return

    async def reset(self) -> None:
        """Drop the stream in both directions, even when cancelled."""
        with trio.CancelScope(deadline=trio.current_time() + RESET_S_MAX, shield=True):
            try:
                await self._stream.reset()
            except Exception:  # noqa: BLE001 - as in close
                return


def _lost(error: Exception) -> Unavailable:
    return Unavailable("stream_lost", f"the stream broke ({type(error).__name__})")
