"""The node's end of its compute gateway: a supervised child process that holds the Ray driver.

The child may die at any time; that fails the calls in progress and nothing else, and it is started
again after a pause. It is a program (`python -m compute.gateway`), never imported: see
`p2p_aios.types.gateway` for the frames on its pipes.

    async with open_gateway(config) as gateway:
        raw = await gateway.train(request, {base_cid: base_blob})
"""

import logging
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio

from p2p_aios.codec.cid import format_cid
from p2p_aios.codec.frames import FrameBuffer
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.node.gateway_pipes import (
    close_pipes,
    decode_frame,
    encode_call,
    receive_some,
    write_frames,
)
from p2p_aios.types.gateway import (
    FRAME_BYTES_MAX,
    Answer,
    Call,
    Contributor,
    Contributors,
    Done,
    Failure,
    Judged,
    JudgeRound,
    ListContributors,
    Ping,
    Request,
    Result,
    RevealRound,
    RunJob,
    Signed,
    StoreBlob,
    TrainRound,
    Up,
    error_of,
)
from p2p_aios.units import Cid

IN_FLIGHT_MAX: Final = 64
"""Calls in progress; further ones are refused at once."""
QUEUE_FRAMES_MAX: Final = 64
PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 8.0
HEALTHY_S: Final = 10.0
"""After being up this long, the next pause is the shortest again."""
MARGIN_S: Final = 1.0
"""How much longer than the child we wait, so that its own answer wins."""
STORED_MAX: Final = 4096
"""Blobs remembered as stored in the child; forgetting one only means sending it again."""

log = logging.getLogger(__name__)

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class GatewayConfig:
    ray_address: str
    """host:port of the operator's Ray head."""
    ray_token_file: Path
    node_ip: str
    """This machine's address within the Ray cluster."""
    log_file: Path
    """Receives the child's standard error."""
    command: tuple[str, ...] = (sys.executable, "-m", "compute.gateway")


@dataclass(frozen=True, slots=True)
class GatewayStatus:
    is_up: bool
    """Whether the child has joined the cluster."""
    restarts: int
    """How often the child has ended."""
    pid: int | None
    in_flight: int
    last_exit: int | None
    """Exit code of the latest child that ended; -9 for SIGKILL."""
    calls: int = 0
    """Ended, well or not, since the start."""
    call_s: float = 0.0
    """Seconds in all of them together."""


@asynccontextmanager
async def open_gateway(config: GatewayConfig) -> AsyncIterator["Gateway"]:
    """Keep a gateway child running while the block does; it is killed at the end."""
    gateway = Gateway(config)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gateway.supervise)
        try:
            yield gateway
        finally:
            nursery.cancel_scope.cancel()


class _Pending:
    """A call that waits for its answer."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.reply: Answer | Failure | None = None


class _Child:
    """One incarnation of the child, from its Up frame on."""

    def __init__(self, frames: "trio.MemorySendChannel[bytes]") -> None:
        self.frames = frames
        self.pending: dict[int, _Pending] = {}
        self.stored: dict[Cid, None] = {}
        self.storing = trio.Lock()


class Gateway:
    """Typed calls of the child. Each raises

    - Unavailable: `gateway_down`, `gateway_busy`, `compute_timeout`, `worker_gone`, `agent_gone`,
      `panel_gone`, `compute_failed`, `job_failed`, `training_too_slow`;
    - Invalid: what the contributor's agent or the judgement refuses, by its own code.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._child: _Child | None = None
        self._up = trio.Event()
        self._pid: int | None = None
        self._restarts = 0
        self._last_exit: int | None = None
        self._calls = 0
        self._in_flight = 0
        self._call_s = 0.0

    def status(self) -> GatewayStatus:
        return GatewayStatus(
            self._child is not None,
            self._restarts,
            self._pid,
            self._in_flight,
            self._last_exit,
            self._calls - self._in_flight,
            self._call_s,
        )

    async def wait_up(self) -> None:
        """Return once the child has joined the cluster; perhaps never."""
        await self._up.wait()

    async def ping(self, timeout_s: float = 5.0) -> None:
        await self._call(Ping(), timeout_s, Done)

    async def contributors(self, timeout_s: float = 10.0) -> tuple[Contributor, ...]:
        """Contributors whose agents answer in this cluster."""
        return (await self._call(ListContributors(), timeout_s, Contributors)).members

    async def train(
        self, request: TrainRound, blobs: Mapping[Cid, bytes], timeout_s: float = 60.0
    ) -> bytes:
        """The worker's signed CommitUpdate; `blobs` holds the base."""
        signed = await self._call_with(request, (request.base,), blobs, timeout_s, Signed)
        return signed.raw

    async def reveal(self, request: RevealRound, timeout_s: float = 10.0) -> Signed:
        """The worker's signed RevealUpdate, and the update blob as output."""
        return await self._call(request, timeout_s, Signed)

    async def run_job(
        self, request: RunJob, blobs: Mapping[Cid, bytes], timeout_s: float = 60.0
    ) -> Signed:
        """The worker's signed SubmitReceipt, and the output blob; `blobs` holds the inputs."""
        return await self._call_with(request, request.inputs, blobs, timeout_s, Signed)

    async def judge(
        self, request: JudgeRound, blobs: Mapping[Cid, bytes], timeout_s: float = 60.0
    ) -> Judged:
        """This panel member's recomputation; `blobs` holds base, test shard and updates."""
        served = [cid for cid in request.updates if cid is not None]
        cids = (request.base, request.task.test_shard, *served)
        return await self._call_with(request, cids, blobs, timeout_s, Judged)

    async def supervise(self) -> None:
        """Run children one after the other, for ever; `open_gateway` does this."""
        pause_s = PAUSE_S
        while True:
            healthy_from = trio.current_time() + HEALTHY_S
            await self._run_child()
            self._restarts += 1
            is_healthy = trio.current_time() >= healthy_from
            pause_s = PAUSE_S if is_healthy else min(2 * pause_s, PAUSE_S_MAX)
            log.warning("gateway ended with %s; next in %.1f s", self._last_exit, pause_s)
            await trio.sleep(pause_s)

    async def _run_child(self) -> None:
        """One child from its start to its end."""
        config = self._config
        arguments = (config.ray_address, config.node_ip, str(config.ray_token_file.absolute()))
        with config.log_file.open("ab") as output:
            process = await trio.lowlevel.open_process(
                [*config.command, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                env=dict(os.environ),
                start_new_session=True,
            )
        self._pid = process.pid
        try:
            await self._exchange(process)
        finally:
            self._disconnect()
            process.kill()
            with trio.CancelScope(shield=True):
                self._last_exit = await process.wait()
                await close_pipes(process)
            self._pid = None

    async def _exchange(self, process: trio.Process) -> None:
        """Carry frames both ways until the child's output ends or breaks the protocol."""
        sending, queued = trio.open_memory_channel[bytes](QUEUE_FRAMES_MAX)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write_frames, process, queued)
            try:
                await self._read_frames(process, _Child(sending))
            except Invalid as error:
                log.error("the gateway broke the protocol: %s", error)
            nursery.cancel_scope.cancel()

    async def _read_frames(self, process: trio.Process, child: _Child) -> None:
        assert process.stdout is not None
        buffer = FrameBuffer(FRAME_BYTES_MAX)
        while data := await receive_some(process.stdout):
            buffer.feed(data)
            while (frame := buffer.next_frame()) is not None:
                match await decode_frame(frame):
                    case Up(init_ms):
                        log.info("gateway joined the cluster in %d ms", init_ms)
                        self._child = child
                        self._up.set()
                    case Answer() | Failure() as reply:
                        pending = child.pending.pop(reply.id, None)
                        if pending is not None:
                            pending.reply = reply
                            pending.event.set()

    def _disconnect(self) -> None:
        child, self._child = self._child, None
        self._up = trio.Event()
        if child is not None:
            for pending in child.pending.values():
                pending.event.set()

    async def _call_with(
        self,
        request: Request,
        cids: Sequence[Cid],
        blobs: Mapping[Cid, bytes],
        timeout_s: float,
        expected: type[R],
    ) -> R:
        """A call that names blobs: the child is sent those that it does not hold."""
        deadline = trio.current_time() + timeout_s
        for is_last in (False, True):
            child = self._require_child()
            async with child.storing:
                for cid in cids:
                    if cid not in child.stored:
                        rest_s = max(0.1, deadline - trio.current_time())
                        await self._call(StoreBlob(cid, _find(blobs, cid)), rest_s, Done)
                        _remember(child, cid)
            try:
                rest_s = max(0.1, deadline - trio.current_time())
                return await self._call(request, rest_s, expected)
            except Unavailable as error:
                if error.code != "blob_missing" or is_last:
                    raise
                # The child has dropped some for want of room: send them again, once.
                child.stored.clear()
        raise AssertionError("unreachable")

    async def _call(self, request: Request, timeout_s: float, expected: type[R]) -> R:
        child = self._require_child()
        if self._in_flight >= IN_FLIGHT_MAX:
            raise Unavailable("gateway_busy", f"{IN_FLIGHT_MAX} calls are in progress; try later")
        self._calls += 1
        call = Call(self._calls, max(1, math.ceil(timeout_s * 1000)), request)
        child.pending[call.id] = pending = _Pending()
        self._in_flight += 1
        begun_s = trio.current_time()
        try:
            with trio.move_on_after(timeout_s + MARGIN_S):
                await child.frames.send(await encode_call(call))
                await pending.event.wait()
                return _open_reply(pending.reply, expected)
            raise Unavailable("compute_timeout", f"the gateway was silent for {timeout_s:.1f} s")
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise _down() from None
        finally:
            self._in_flight -= 1
            self._call_s += trio.current_time() - begun_s
            child.pending.pop(call.id, None)

    def _require_child(self) -> _Child:
        if self._child is None:
            raise _down()
        return self._child


def _open_reply(reply: Answer | Failure | None, expected: type[R]) -> R:
    if reply is None:
        raise _down()
    if isinstance(reply, Failure):
        raise error_of(reply)
    result: Result = reply.result
    if not isinstance(result, expected):
        raise Unavailable("compute_failed", "the gateway answered another question")
    return result


def _find(blobs: Mapping[Cid, bytes], cid: Cid) -> bytes:
    blob = blobs.get(cid)
    if blob is None:
        raise Unavailable("blob_missing", f"the call names {format_cid(cid)} but does not bring it")
    return blob


def _remember(child: _Child, cid: Cid) -> None:
    if len(child.stored) >= STORED_MAX:
        child.stored.clear()
    child.stored[cid] = None


def _down() -> Unavailable:
    return Unavailable(
        "gateway_down", "the compute gateway is not connected; it is being restarted"
    )
