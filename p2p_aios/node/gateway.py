"""The node's end of its compute gateway: a supervised child process that holds the Ray driver.

The child may die at any time; that fails the calls in progress and nothing else, and it is started
again after a pause. It is a program (`python -m compute.gateway`), never imported: see
`p2p_aios.types.gateway` for the frames on its pipes.

    async with open_gateway(config) as gateway:
        raw = await gateway.train(request, blobs.fetch)

Calls name blobs by CID. A child is sent each once, read by the caller's `Load` at that moment and
one at a time, so that the node never holds a round's models and updates all at once.
"""

import logging
import math
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import trio

from p2p_aios.errors import Unavailable
from p2p_aios.node.gateway_child import Child, end_child, exchange, start_child
from p2p_aios.node.gateway_pipes import encode_call
from p2p_aios.types.gateway import (
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
    error_of,
)
from p2p_aios.units import Cid

IN_FLIGHT_MAX: Final = 64
"""Calls in progress; further ones are refused at once."""
PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 8.0
HEALTHY_S: Final = 10.0
"""After being up this long, the next pause is the shortest again."""
MARGIN_S: Final = 1.0
"""How much longer than the child we wait, so that its own answer wins."""
log = logging.getLogger(__name__)

R = TypeVar("R")
Load = Callable[[Cid], Awaitable[bytes]]
"""A blob's bytes; raises Unavailable where there are none."""


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


class Gateway:
    """Typed calls of the child. Each raises

    - Unavailable: `gateway_down`, `gateway_busy`, `compute_timeout`, `worker_gone`, `agent_gone`,
      `panel_gone`, `compute_failed`, `job_failed`, `training_too_slow`;
    - Invalid: what the contributor's agent or the judgement refuses, by its own code.
    """

    def __init__(self, config: GatewayConfig) -> None:
        self._config = config
        self._child: Child | None = None
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

    async def train(self, request: TrainRound, load: Load, timeout_s: float = 60.0) -> bytes:
        """The worker's signed CommitUpdate."""
        signed = await self._call_with(request, (request.base,), load, timeout_s, Signed)
        return signed.raw

    async def reveal(self, request: RevealRound, timeout_s: float = 10.0) -> Signed:
        """The worker's signed RevealUpdate, and the update blob as output."""
        return await self._call(request, timeout_s, Signed)

    async def run_job(self, request: RunJob, load: Load, timeout_s: float = 60.0) -> Signed:
        """The worker's signed SubmitReceipt, and the output blob."""
        return await self._call_with(request, request.inputs, load, timeout_s, Signed)

    async def judge(self, request: JudgeRound, load: Load, timeout_s: float = 60.0) -> Judged:
        """This panel member's recomputation."""
        served = [cid for cid in request.updates if cid is not None]
        cids = (request.base, request.task.test_shard, *served)
        return await self._call_with(request, cids, load, timeout_s, Judged)

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
        try:
            process = await start_child((*config.command, *arguments), config.log_file)
        except OSError as error:
            # No memory, no descriptors, no room for its log: the node lives on without it.
            log.error("the gateway does not start: %s", error)
            return
        self._pid = process.pid
        try:
            await exchange(process, self._connect)
        finally:
            self._disconnect()
            self._last_exit = await end_child(process)
            self._pid = None

    def _connect(self, child: Child) -> None:
        self._child = child
        self._up.set()

    def _disconnect(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.give_up()
            # Only then: who waits for a child that never came up waits for the next one.
            self._up = trio.Event()

    async def _call_with(
        self,
        request: Request,
        cids: Sequence[Cid],
        load: Load,
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
                        blob = StoreBlob(cid, await load(cid))
                        await self._call(blob, max(0.1, deadline - trio.current_time()), Done)
                        child.note_stored(cid)
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
        pending = child.expect(call.id)
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
            child.forget(call.id)

    def _require_child(self) -> Child:
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


def _down() -> Unavailable:
    return Unavailable(
        "gateway_down", "the compute gateway is not connected; it is being restarted"
    )
