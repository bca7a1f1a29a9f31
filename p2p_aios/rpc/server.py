"""Serves the RPC on a TCP port."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import trio
from hypercorn.config import Config
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.app import RpcConfig, is_loopback, make_app
from p2p_aios.rpc.backend import Backend
from p2p_aios.rpc.connection import Connection
from p2p_aios.rpc.feed import Feed
from p2p_aios.rpc.registry import Service

HEADER_BYTES_MAX: Final = 16 * 1024
PING_S: Final = 20
"""Between WebSocket pings: keeps middleboxes from forgetting the connection."""
_FULL: Final = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

log = logging.getLogger(__name__)


async def serve_rpc(
    backend: Backend,
    feed: Feed,
    config: RpcConfig,
    routes: Sequence[BaseRoute] = (),
    *,
    task_status: Any = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; starts with the base URL it listens on.

    Raises Invalid(`token_required`), Unavailable(`port_unavailable`), Corrupt (in a group).
    """
    if config.token is None and not is_loopback(config.host):
        raise Invalid(
            "token_required",
            f"the RPC would listen on {config.host}, open to others; set a token or use 127.0.0.1",
        )
    listeners = await _open_listeners(config)
    app = make_app(Service(backend, feed), config, routes)
    async with trio.open_nursery() as connections:
        acceptor = Acceptor(app, config, connections)
        port = listeners[0].socket.getsockname()[1]
        host = f"[{config.host}]" if ":" in config.host else config.host
        task_status.started(f"http://{host}:{port}")
        await trio.serve_listeners(acceptor.accept, listeners, handler_nursery=connections)


class Acceptor:
    """Turns sockets into connections, so many at a time."""

    def __init__(self, app: ASGIApp, config: RpcConfig, connections: trio.Nursery) -> None:
        self._app = app
        self._config = config
        self._connections = connections
        self._engine = _configure_engine(config)

    async def accept(self, stream: trio.SocketStream) -> None:
        """Serve one connection."""
        # This task is one of them.
        if len(self._connections.child_tasks) > self._config.connections_max:
            with trio.move_on_after(1):
                try:
                    await stream.send_all(_FULL)
                except trio.BrokenResourceError:
                    log.debug("a refused client left early")
            await trio.aclose_forcefully(stream)
            return
        await Connection(self._app, self._engine, stream).run()


async def _open_listeners(config: RpcConfig) -> list[trio.SocketListener]:
    try:
        return list(await trio.open_tcp_listeners(config.port, host=config.host))
    except OSError as error:
        raise Unavailable(
            "port_unavailable",
            f"cannot listen on {config.host}:{config.port} ({error.strerror}); "
            "is another node running? Choose another rpc port",
        ) from None


def _configure_engine(config: RpcConfig) -> Config:
    engine: Any = Config()
    engine.errorlog = None
    engine.include_server_header = False
    engine.h11_max_incomplete_size = HEADER_BYTES_MAX
    engine.websocket_max_message_size = config.body_bytes_max
    engine.websocket_ping_interval = PING_S
    engine.keep_alive_max_requests = 1_000_000
    result: Config = engine
    return result
