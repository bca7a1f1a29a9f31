"""Frames waiting for one stream's writer."""

from collections import deque
from typing import Final

import trio

from p2p_aios.codec.frames import encode_frame

BATCH_BYTES_MAX: Final = 64 * 1024
"""Frames are joined up to this size: one write, one encryption, one packet for many votes."""


class Outbox:
    """A queue bounded in frames and in bytes. A full one drops its oldest frames: in consensus the
    newest vote is the one that matters, and what was lost is sent again."""

    def __init__(self, frames_max: int, bytes_max: int) -> None:
        self._frames_max = frames_max
        self._bytes_max = bytes_max
        self._frames: deque[bytes] = deque()
        self._bytes = 0
        self._filled = trio.Event()
        self.dropped = 0

    def put(self, frame: bytes) -> None:
        """Add a frame's body; drops the oldest while over a bound."""
        self._frames.append(frame)
        self._bytes += len(frame)
        while len(self._frames) > self._frames_max or self._bytes > self._bytes_max:
            self._bytes -= len(self._frames.popleft())
            self.dropped += 1
        self._filled.set()

    async def take_batch(self) -> bytes:
        """Encoded frames to be written at once: at least one, as many as fit a batch."""
        while not self._frames:
            self._filled = trio.Event()
            await self._filled.wait()
        batch = [encode_frame(self._pop())]
        size = len(batch[0])
        while self._frames and size + len(self._frames[0]) < BATCH_BYTES_MAX:
            batch.append(encode_frame(self._pop()))
            size += len(batch[-1])
        return b"".join(batch)

    def clear(self) -> None:
        self._frames.clear()
        self._bytes = 0

    def _pop(self) -> bytes:
        frame = self._frames.popleft()
        self._bytes -= len(frame)
        return frame
