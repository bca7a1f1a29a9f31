"""One gateway child: its process, the frames it exchanges, the calls that wait for its answers."""

import logging
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import trio

from p2p_aios.codec.frames import FrameBuffer
from p2p_aios.errors import Invalid
from p2p_aios.node.gateway_pipes import close_pipes, decode_frame, receive_some, write_frames
from p2p_aios.types.gateway import FRAME_BYTES_MAX, Answer, Failure, Up
from p2p_aios.units import Cid

QUEUE_FRAMES_MAX: Final = 64
STORED_MAX: Final = 4096
"""Blobs remembered as stored in the child; forgetting one only means sending it again."""
SECRET_VARIABLES: Final = ("AIOS_PASSPHRASE", "AIOS_TOKEN")
"""Not for a process that speaks with a Ray cluster."""

log = logging.getLogger(__name__)


class Pending:
    """A call that waits for its answer."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.reply: Answer | Failure | None = None
        """None where the child ended first."""


class Child:
    """One incarnation of the child, as its callers see it."""

    def __init__(self, frames: "trio.MemorySendChannel[bytes]") -> None:
        self.frames = frames
        self.stored: dict[Cid, None] = {}
        self.storing = trio.Lock()
        self._pending: dict[int, Pending] = {}

    def expect(self, call: int) -> Pending:
        """Wait for the answer to this call from now on, until `forget`."""
        self._pending[call] = pending = Pending()
        return pending

    def forget(self, call: int) -> None:
        self._pending.pop(call, None)

    def answer(self, reply: Answer | Failure) -> None:
        """Hand an answer to whoever waits for it; one that nobody waits for is dropped."""
        pending = self._pending.pop(reply.id, None)
        if pending is not None:
            pending.reply = reply
            pending.event.set()

    def give_up(self) -> None:
        """The child has ended: nobody will be answered."""
        for pending in self._pending.values():
            pending.event.set()

    def note_stored(self, cid: Cid) -> None:
        if len(self.stored) >= STORED_MAX:
            self.stored.clear()
        self.stored[cid] = None


async def start_child(command: Sequence[str], log_file: Path) -> trio.Process:
    """A process with pipes for frames; its standard error goes to `log_file`. Raises OSError."""
    environment = {name: v for name, v in os.environ.items() if name not in SECRET_VARIABLES}
    with log_file.open("ab") as output:
        return await trio.lowlevel.open_process(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            env=environment,
            start_new_session=True,
        )


async def end_child(process: trio.Process) -> int:
    """Kill it, even when cancelled; its exit code."""
    process.kill()
    with trio.CancelScope(shield=True):
        code = await process.wait()
        await close_pipes(process)
    return code


async def exchange(process: trio.Process, on_up: Callable[[Child], None]) -> None:
    """Carry frames both ways until the child's output ends or breaks the protocol."""
    sending, queued = trio.open_memory_channel[bytes](QUEUE_FRAMES_MAX)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write_frames, process, queued)
        try:
            await _read_frames(process, Child(sending), on_up)
        except Invalid as error:
            log.error("the gateway broke the protocol: %s", error)
        nursery.cancel_scope.cancel()


async def _read_frames(process: trio.Process, child: Child, on_up: Callable[[Child], None]) -> None:
    assert process.stdout is not None
    buffer = FrameBuffer(FRAME_BYTES_MAX)
    while data := await receive_some(process.stdout):
        buffer.feed(data)
        while (frame := buffer.next_frame()) is not None:
            match await decode_frame(frame):
                case Up(init_ms):
                    log.info("gateway joined the cluster in %d ms", init_ms)
                    on_up(child)
                case Answer() | Failure() as reply:
                    child.answer(reply)
