"""Serves the RPC on a TCP port."""

import logging
import socket
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import trio
from hypercorn.config import Config
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from p2p_aios.codec.url import format_url
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.app import make_app
from p2p_aios.rpc.backend import Backend
from p2p_aios.rpc.config import RpcConfig, RpcLimits
from p2p_aios.rpc.connection import Connection
from p2p_aios.rpc.feed import Feed
from p2p_aios.rpc.gate import is_loopback
from p2p_aios.rpc.meter import CallMeter
from p2p_aios.rpc.rates import network_of
from p2p_aios.rpc.registry import Service

HEADER_BYTES_MAX: Final = 16 * 1024
PING_S: Final = 20
"""Between WebSocket pings: keeps middleboxes from forgetting the connection."""
DEAD_S: Final = 60
"""After which bytes that nobody acknowledged end a connection."""
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

log = logging.getLogger(__name__)


async def serve_rpc(
    backend: Backend,
    feed: Feed,
    config: RpcConfig,
    routes: Sequence[BaseRoute] = (),
    *,
    meter: CallMeter | None = None,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; starts with the base URL it listens on. `meter` notes every call.

    Raises Invalid(`token_required`), Unavailable(`port_unavailable`), Corrupt (in a group).
    """
    if config.token is None and not is_loopback(config.host):
        raise Invalid(
            "token_required",
            f"the RPC would listen on {config.host}, open to others; set a token or use 127.0.0.1",
        )
    listeners = await _open_listeners(config)
    app = make_app(Service(backend, feed), config, meter or CallMeter(), routes)
    async with trio.open_nursery() as connections:
        acceptor = Acceptor(app, config)
        port = listeners[0].socket.getsockname()[1]
        task_status.started(format_url(config.host, port))
        await trio.serve_listeners(acceptor.accept, listeners, handler_nursery=connections)


class Acceptor:
    """Turns sockets into connections, so many at a time."""

    def __init__(self, app: ASGIApp, config: RpcConfig) -> None:
        self._app = app
        self._limits = config.limits
        self._engine = _configure_engine(config.limits)
        self._open: Counter[str] = Counter()
        """Connections of each client."""

    async def accept(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        try:
            host = str(stream.socket.getpeername()[0])
        except OSError:  # it is gone again
            await trio.aclose_forcefully(stream)
            return
        if not self._has_room(host):
            await _turn_away(stream)
            return
        client = network_of(host)
        self._open[client] += 1
        try:
            _give_up_on_the_dead(stream)
            await Connection(self._app, self._engine, stream).run()
        finally:
            self._open[client] -= 1
            self._open += Counter()  # forgets who has none

    def _has_room(self, host: str) -> bool:
        limits = self._limits
        if self._open.total() >= limits.connections_max:
            return False
        if is_loopback(host) and not limits.limits_loopback:
            return True
        return self._open[network_of(host)] < limits.client_connections_max


async def _turn_away(stream: trio.SocketStream) -> None:
    with trio.move_on_after(1):
        try:
            await stream.send_all(_FULL)
        except trio.BrokenResourceError:
            log.debug("a refused client left early")
    await trio.aclose_forcefully(stream)


def _give_up_on_the_dead(stream: trio.SocketStream) -> None:
    """Whoever vanished without a word acknowledges nothing: our pings find that out."""
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 1000 * DEAD_S)


async def _open_listeners(config: RpcConfig) -> list[trio.SocketListener]:
    try:
        return list(await trio.open_tcp_listeners(config.port, host=config.host))
    except OSError as error:
        raise Unavailable(
            "port_unavailable",
            f"cannot listen on {config.host}:{config.port} ({error.strerror}); "
            "is another node running? Choose another rpc port",
        ) from None


def _configure_engine(limits: RpcLimits) -> Config:
    engine: Any = Config()
    engine.errorlog = None
    engine.include_server_header = False
    engine.h11_max_incomplete_size = HEADER_BYTES_MAX
    engine.websocket_max_message_size = limits.body_bytes_max
    engine.websocket_ping_interval = PING_S
    engine.keep_alive_max_requests = 1_000_000
    result: Config = engine
    return result
