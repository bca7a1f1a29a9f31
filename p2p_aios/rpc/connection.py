"""One client connection: hypercorn's HTTP/1.1 and WebSocket engine inside bounds of our own.

Hypercorn's own connection task lets a peer that stops reading block a write for ever, keeps an
application waiting behind a full request queue, goes on buffering a WebSocket message it already
called too large, and ends the whole server on an exception in the protocol code. Here every write
has a deadline, a finished application takes no more of the request, and a fault costs only its
connection. HTTP/2 and WebSocket compression are not offered: neither is needed, and compression
would let 64 KiB become 64 MiB.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from math import inf
from typing import Any, Final

import h11
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.protocol.ws_stream import WSStream
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp

from p2p_aios.errors import Corrupt

READ_BYTES_MAX: Final = 1 << 16
WRITE_BYTES_MAX: Final = 1 << 18
"""Largest piece written under one deadline."""
WRITE_S_MAX: Final = 10
"""A client that takes no piece for this long is gone."""
IDLE_S_MAX: Final = 30
"""Between requests, and for the headers of one."""
LINGER_S_MAX: Final = 1
"""After our last byte: a socket closed on unread data would take back what we just answered."""
EVENTS_MAX: Final = 16
"""Pieces of a request body waiting for the application."""

log = logging.getLogger(__name__)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 and WebSocket alone, uncompressed."""

    is_head = False
    """Whether what it sends now is better sent with what follows."""

    async def _check_protocol(self, event: h11.Request) -> None:
        """No upgrade to HTTP/2: such requests are answered in HTTP/1.1."""

    async def _create_stream(self, request: h11.Request) -> None:
        kept = [(n, v) for n, v in request.headers if n.lower() != b"sec-websocket-extensions"]
        plain = h11.Request(
            method=request.method,
            target=request.target,
            headers=kept,
            http_version=request.http_version,
        )
        await super()._create_stream(plain)

    async def stream_send(self, event: StreamEvent) -> None:
        """The head of an answer whose length is known leaves with the first of it: a packet less,
        and half of what writing costs."""
        self.is_head = isinstance(event, Response) and _has_length(event)
        await super().stream_send(event)

    def is_overflowing(self) -> bool:
        """Whether a WebSocket message grew beyond its limit."""
        stream = self.stream
        return isinstance(stream, WSStream) and stream.buffer.length > stream.buffer.max_length


class Applications:
    """Runs the application for each request of one connection (hypercorn's TaskGroup)."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery

    def spawn(self, task: Callable[..., Awaitable[None]], *args: Any) -> None:
        """Hypercorn's own chores: pings."""
        self._nursery.start_soon(_run_chore, task, args)

    async def spawn_app(
        self, app: Any, _config: Config, scope: Any, send: Callable[[Any], Awaitable[None]]
    ) -> Callable[[Any], Awaitable[None]]:
        events, incoming = trio.open_memory_channel[Any](EVENTS_MAX)
        ending = {"type": f"{scope['type']}.disconnect"}

        async def offer(event: Any) -> None:
            if event["type"] == ending["type"]:
                ending.update(event)
                events.close()
                return
            # The application has ended, or the connection has: the rest interests nobody.
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await events.send(event)

        async def receive() -> Any:
            try:
                return await incoming.receive()
            except trio.EndOfChannel:
                return ending

        self._nursery.start_soon(_run_application, app, scope, receive, send, incoming)
        return offer


def _has_length(response: Response) -> bool:
    return any(name == b"content-length" for name, _ in response.headers)


async def _run_chore(chore: Callable[..., Awaitable[None]], arguments: tuple[Any, ...]) -> None:
    try:
        await chore(*arguments)
    except Exception:
        # Boundary: a ping into a connection that is just closing must not end the node.
        log.debug("chore failed", exc_info=True)


async def _run_application(
    app: ASGIApp,
    scope: Any,
    receive: Callable[[], Awaitable[Any]],
    send: Callable[[Any], Awaitable[None]],
    incoming: trio.MemoryReceiveChannel[Any],
) -> None:
    try:
        await app(scope, receive, send)
    except Exception as error:
        # Boundary: a fault while answering one request must not end the node, but a disk that
        # lies must.
        if _is_corrupt(error):
            raise
        log.exception("request path=%s failed", scope.get("path"))
    finally:
        incoming.close()
    await send(None)


def _is_corrupt(error: Exception) -> bool:
    if isinstance(error, ExceptionGroup):
        return error.subgroup(Corrupt) is not None
    return isinstance(error, Corrupt)


class Connection:
    """Carries bytes between one stream and the protocol engine."""

    def __init__(self, app: ASGIApp, config: Config, stream: trio.SocketStream) -> None:
        self._app = app
        self._config = config
        self._stream = stream
        self._writing = trio.Lock()
        self._reading = trio.CancelScope()
        self._is_finished = False
        self._head = b""
        """Of an answer, until its first bytes come."""
        self._protocol: BoundedProtocol

    async def run(self) -> None:
        """Until either side closes; raises Corrupt (in a group) alone."""
        try:
            async with trio.open_nursery() as nursery:
                try:
                    self._protocol = self._open_protocol(nursery)
                    await self._read()
                    await self._protocol.handle(Closed())
                except Exception:
                    # Boundary: whatever the bytes of one client provoke in the protocol engine
                    # costs that client its connection, nobody else anything.
                    log.warning("connection broke the protocol", exc_info=True)
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(self._stream)

    def _open_protocol(self, nursery: trio.Nursery) -> BoundedProtocol:
        ends = self._stream.socket.getpeername(), self._stream.socket.getsockname()
        client, server = ((str(end[0]), int(end[1])) for end in ends)
        applications: Any = Applications(nursery)
        state = ConnectionState({})
        context = WorkerContext(None)
        return BoundedProtocol(
            self._app,  # type: ignore[arg-type]  # Applications runs ASGI apps unwrapped
            self._config,
            context,
            applications,
            state,
            False,
            client,
            server,
            self._send,
        )

    async def _read(self) -> None:
        self._set_idle(True)
        while True:
            data = b""
            with self._reading, suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                data = bytes(await self._stream.receive_some(READ_BYTES_MAX))
            if not data:
                return
            self._reading = trio.CancelScope(deadline=self._reading.deadline)
            if self._is_finished:
                continue
            await self._protocol.handle(RawData(data))
            if self._protocol.is_overflowing():
                return

    def _set_idle(self, is_idle: bool) -> None:
        if self._is_finished:
            return
        self._reading.deadline = trio.current_time() + IDLE_S_MAX if is_idle else inf

    async def _send(self, event: Event) -> None:
        match event:
            case RawData(data=data) if self._protocol.is_head:
                self._head = data
            case RawData(data=data):
                data, self._head = self._head + data, b""
                if data:
                    await self._write(data)
            case Updated(idle=is_idle):
                self._set_idle(is_idle)
            case Closed():
                await self._finish()
                await self._protocol.handle(Closed())

    async def _write(self, data: bytes) -> None:
        async with self._writing:
            try:
                for start in range(0, len(data), WRITE_BYTES_MAX):
                    with trio.fail_after(WRITE_S_MAX):
                        await self._stream.send_all(data[start : start + WRITE_BYTES_MAX])
                return
            except (trio.TooSlowError, trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            except trio.Cancelled:
                # Half a frame may be out: nothing that follows could be understood.
                self._stream.socket.close()
                raise
        await trio.aclose_forcefully(self._stream)
        await self._protocol.handle(Closed())

    async def _finish(self) -> None:
        """Send no more; `_read` closes once the client has, or the time is up."""
        self._is_finished = True
        self._reading.deadline = trio.current_time() + LINGER_S_MAX
        async with self._writing:
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send_eof()
