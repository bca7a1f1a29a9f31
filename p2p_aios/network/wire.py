"""A libp2p stream behind our own errors."""

from typing import Any, Final

import trio
from libp2p.network.stream.exceptions import StreamEOF

from p2p_aios.errors import Unavailable

FRAME_BYTES_MAX: Final = 1 << 20
"""Largest frame on any stream."""
READ_BYTES_MAX: Final = 256 * 1024
"""Most bytes taken from a stream at once."""
RESET_S_MAX: Final = 1.0
"""Time for telling the other side of a reset."""


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
