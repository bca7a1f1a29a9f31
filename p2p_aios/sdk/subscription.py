"""Following a node over WebSocket."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Generic, TypeVar

from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    DisconnectionTimeout,
    HandshakeError,
    open_websocket_url,
)

from p2p_aios.codec import schema
from p2p_aios.errors import Unavailable
from p2p_aios.sdk.transport import fault_of

CONNECT_S_MAX: Final = 5
DISCONNECT_S_MAX: Final = 2
NOTICE_BYTES_MAX: Final = 8 << 20
QUEUE_MAX: Final = 64
"""Notices read ahead; the node holds some more, then drops a client that does not keep up."""

T = TypeVar("T")


class Notifications(Generic[T]):
    """What a subscription brings: `async for notice in notifications`."""

    def __init__(self, socket: Any, kind: type[T]) -> None:
        self._socket = socket
        self._kind = kind

    def __aiter__(self) -> "Notifications[T]":
        return self

    async def __anext__(self) -> T:
        """Raises Unavailable: `subscriber_slow`, `subscription_lost`."""
        message = await _read(self._socket)
        return schema.from_json(self._kind, message["params"]["result"])


@asynccontextmanager
async def open_subscription(
    url: str, token: str | None, kind: type[T], params: dict[str, Any]
) -> AsyncIterator[Notifications[T]]:
    """Subscribe at the node whose HTTP address is `url`.

    Raises the node's refusal, or Unavailable(`node_unreachable`).
    """
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else None
    try:
        async with open_websocket_url(
            _socket_url(url),
            extra_headers=headers,
            message_queue_size=QUEUE_MAX,
            max_message_size=NOTICE_BYTES_MAX,
            connect_timeout=CONNECT_S_MAX,
            disconnect_timeout=DISCONNECT_S_MAX,
        ) as socket:
            request = {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": params}
            await _write(socket, request)
            answer = await _read(socket)
            if "error" in answer:
                raise fault_of(answer["error"])
            yield Notifications(socket, kind)
    except DisconnectionTimeout:
        # The node no longer answers; nothing is lost, for we were leaving.
        return
    except ConnectionRejected as error:
        raise Unavailable("node_unreachable", f"{url} refused: {error.status_code}") from None
    except HandshakeError as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise Unavailable(
            "node_unreachable", f"no answer from {url} ({reason}); is the node running?"
        ) from None


async def _write(socket: Any, message: dict[str, Any]) -> None:
    try:
        await socket.send_message(json.dumps(message))
    except ConnectionClosed as closed:
        raise _lost(closed) from None


async def _read(socket: Any) -> dict[str, Any]:
    try:
        message: dict[str, Any] = json.loads(await socket.get_message())
    except ConnectionClosed as closed:
        raise _lost(closed) from None
    return message


def _lost(closed: Any) -> Unavailable:
    reason = getattr(closed.reason, "reason", None)
    if reason == "subscriber_slow":
        return Unavailable("subscriber_slow", "this client fell behind; follow again and read on")
    return Unavailable("subscription_lost", "the node closed the connection; follow again")


def _socket_url(url: str) -> str:
    scheme, separator, rest = url.partition("://")
    secure = {"http": "ws", "https": "wss"}.get(scheme, scheme)
    return f"{secure}{separator}{rest.rstrip('/')}/ws"
