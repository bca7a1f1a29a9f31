"""One multiplexed connection: frames leave whole, the dead are noticed, buffers are bounded.

Four things that libp2p 0.8.1's yamux lacks:

- *Whole frames.* Stock hands a frame to the cipher and then to the socket; a task cancelled in
  between leaves half a frame on the wire, and every later frame of the connection, of every
  stream, is garbage: cancelling one `stream.write` (or a `stream.read`, which sends window
  updates) poisons the connection. Here a frame, once begun, is written to its end; what cannot be
  written is ended by closing the socket (`abort`). So cancelling tears at most its own stream.
- *A reader that never waits to write.* Stock answers pings and new streams from the task that
  reads. When both ends do so while the sockets between them are full, neither reads again. Here
  answers are queued for a task of their own.
- *Liveness.* A peer that is stopped or unplugged sends no FIN. Every connection pings, and is
  aborted when nothing at all has been heard for `SILENCE_S`.
- *Bounds.* Stock only logs when a peer ignores its window, and buffers without end.
"""

import struct
from collections import deque
from typing import Any, Final

import trio
from libp2p.protocol_muxer.exceptions import MultiselectClientError, MultiselectError
from libp2p.stream_muxer.yamux.yamux import (
    FLAG_SYN,
    TYPE_PING,
    YAMUX_HEADER_FORMAT,
    Yamux,
)
from libp2p.transport.exceptions import MuxerUpgradeFailure
from libp2p.transport.upgrader import TransportUpgrader

PING_INTERVAL_S: Final = 1.5
SILENCE_S: Final = 3.0
"""Unheard for this long, a connection is dead."""
WATCH_INTERVAL_S: Final = 0.5
"""Silence is counted in watches, not by the clock: on a starved machine watches come late, and
what the peer sent meanwhile may lie unread in the socket."""
REPLIES_MAX: Final = 1024
"""Answers waiting to be written; a peer that asks more and reads nothing is cut off."""
BUFFERED_BYTES_MAX: Final = 16 << 20
"""Received but unread, over all streams of a connection."""
STREAMS_MAX: Final = 512
"""Streams of a connection, half-closed and forgotten ones included."""


class Connection(Yamux):
    """A yamux connection with the properties above."""

    _ping_id: int

    def __init__(self, secured: Any, peer_id: Any, *, is_initiator: bool) -> None:
        self._heard = _HeardConnection(secured)
        self._reader: trio.lowlevel.Task | None = None
        self._replies: deque[bytes] = deque()
        self._replied = trio.Event()
        super().__init__(self._heard, peer_id, is_initiator=is_initiator)

    async def abort(self) -> None:
        """Close the socket under the connection, so that whoever waits on it stops waiting.

        Never blocks on the peer, unlike `close`, which waits its turn to say good-bye.
        """
        with trio.CancelScope(shield=True):
            try:
                await self.secured_conn.close()
            except Exception:  # noqa: BLE001 - the socket is gone either way
                return

    async def handle_incoming(self) -> None:
        self._reader = trio.lowlevel.current_task()
        await super().handle_incoming()

    async def _write_frame(self, data: bytes) -> None:
        if trio.lowlevel.current_task() is self._reader:
            if len(self._replies) >= REPLIES_MAX:
                await self.abort()
                return
            self._replies.append(data)
            self._replied.set()
            return
        async with self._write_lock:
            with trio.CancelScope(shield=True):
                await self.secured_conn.write(data)

    async def _read_data_body(self, length: int) -> bytes:
        buffered = sum(len(buffer) for buffer in self.stream_buffers.values())
        if buffered + length > BUFFERED_BYTES_MAX or len(self.streams) > STREAMS_MAX:
            # The one exception that stock answers by tearing the connection down.
            raise trio.TooSlowError
        return bytes(await super()._read_data_body(length))

    async def _measure_rtt_loop(self) -> None:
        """Replaces stock's ping every 30 s, which draws no conclusion from silence."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._ping_forever)
            nursery.start_soon(self._write_replies)
            await self._watch_silence()
            nursery.cancel_scope.cancel()

    async def _ping_forever(self) -> None:
        while not self.event_shutting_down.is_set():
            self._ping_id = (self._ping_id + 1) % 2**32
            # Taken before the write: the answer may be handled before the write returns.
            self._ping_sent_time = trio.current_time()
            frame = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, self._ping_id)
            try:
                await self._write_frame(frame)
            except Exception:  # noqa: BLE001 - the reader sees the same end and cleans up
                return
            await trio.sleep(PING_INTERVAL_S)

    async def _write_replies(self) -> None:
        while not self.event_shutting_down.is_set():
            while self._replies:
                try:
                    await self._write_frame(self._replies.popleft())
                except Exception:  # noqa: BLE001 - as in _ping_forever
                    return
            self._replied = trio.Event()
            await self._replied.wait()

    async def _watch_silence(self) -> None:
        silence_s = 0.0
        while not self.event_shutting_down.is_set():
            await trio.sleep(WATCH_INTERVAL_S)
            silence_s = 0.0 if self._heard.anything else silence_s + WATCH_INTERVAL_S
            self._heard.anything = False
            if silence_s >= SILENCE_S:
                await self.abort()
                return


class _HeardConnection:
    """The secured connection, remembering whether it brought anything."""

    def __init__(self, secured: Any) -> None:
        self._secured = secured
        self._read = secured.read
        self.write = secured.write
        self.anything = False

    async def read(self, n: int | None = None) -> bytes:
        data: bytes = await self._read(n)
        self.anything = True
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._secured, name)


class Upgrader(TransportUpgrader):
    """Negotiates as stock does, and then builds our connection instead of stock's."""

    async def upgrade_connection(self, conn: Any, peer_id: Any) -> Connection:
        try:
            await self.muxer_multistream.select_transport(conn)
        except (MultiselectError, MultiselectClientError) as error:
            raise MuxerUpgradeFailure("no common stream muxer") from error
        return Connection(conn, peer_id, is_initiator=conn.is_initiator)
