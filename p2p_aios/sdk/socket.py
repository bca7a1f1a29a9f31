"""A node's WebSocket: calls, and the notices that arrive between their answers."""

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any, Final

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    DisconnectionTimeout,
    HandshakeError,
    open_websocket_url,
)

from p2p_aios.errors import Unavailable
from p2p_aios.sdk.failover import TRIES, hint_s
from p2p_aios.sdk.transport import ANSWER_S_MAX, fault_of

CONNECT_S_MAX: Final = 5
DISCONNECT_S_MAX: Final = 2
SILENCE_S_MAX: Final = 10
"""After it, a ping asks whether the node is still there."""
MESSAGE_BYTES_MAX: Final = 16 << 20
QUEUE_MAX: Final = 64
"""Messages read ahead; the node holds some more, then drops a client that does not keep up."""
BACKLOG_MAX: Final = 4096
"""Notices kept while an answer is awaited."""


class NodeSocket:
    """One connection. Calls and notices are read by one task, in turns."""

    def __init__(self, socket: Any) -> None:
        """For `open_socket` only."""
        self._socket = socket
        self._backlog: deque[dict[str, Any]] = deque()
        self._last_id = 0

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """The `result`; raises the node's refusal, and as `next_notice`.

        Where the node wants to be asked less often, it is asked again when it says.
        """
        left = TRIES
        while True:
            try:
                return await self._call(method, params)
            except Unavailable as fault:
                left -= 1
                if fault.code != "rate_limited" or left == 0:
                    raise
                await trio.sleep(hint_s(fault))

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        self._last_id += 1
        request = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        try:
            await self._socket.send_message(json.dumps(request))
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        with trio.move_on_after(ANSWER_S_MAX):
            # A message refused unread has no id; only one is ever unanswered.
            while (message := await self._read()).get("id", 0) not in (self._last_id, None):
                if len(self._backlog) == BACKLOG_MAX:
                    raise Unavailable("subscriber_slow", "too many notices while catching up")
                self._backlog.append(message)
            if "error" in message:
                raise fault_of(message["error"])
            return message.get("result")
        raise Unavailable("subscription_lost", f"no answer to {method}; follow again")

    async def next_notice(self) -> Any:
        """What a subscription brings; raises Unavailable: `subscriber_slow`,
        `subscription_lost`, `answer_malformed`."""
        message = self._backlog.popleft() if self._backlog else await self._read()
        try:
            return message["params"]["result"]
        except (KeyError, TypeError):
            raise _malformed(str(message)) from None

    async def _read(self) -> dict[str, Any]:
        text = await self._receive()
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            raise _malformed(str(text)) from None
        if not isinstance(message, dict):
            raise _malformed(str(text))
        return message

    async def _receive(self) -> str | bytes:
        try:
            while True:
                with trio.move_on_after(SILENCE_S_MAX):
                    text: str | bytes = await self._socket.get_message()
                    return text
                with trio.fail_after(SILENCE_S_MAX):
                    await self._socket.ping()
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        except trio.TooSlowError:
            raise Unavailable("subscription_lost", "the node fell silent; follow again") from None


@asynccontextmanager
async def open_socket(url: str, token: str | None) -> AsyncIterator[NodeSocket]:
    """Connect to the node whose HTTP address is `url`; raises Unavailable(`node_unreachable`)."""
    headers = [(b"authorization", f"Bearer {token}".encode())] if token else None
    try:
        # The library's own time-out waits for a mute server's first byte before it is raised.
        with trio.move_on_after(CONNECT_S_MAX) as patience:
            async with open_websocket_url(
                _socket_url(url),
                extra_headers=headers,
                message_queue_size=QUEUE_MAX,
                max_message_size=MESSAGE_BYTES_MAX,
                connect_timeout=inf,
                disconnect_timeout=DISCONNECT_S_MAX,
            ) as socket:
                patience.deadline = inf
                yield NodeSocket(socket)
    except DisconnectionTimeout:
        raise Unavailable("subscription_lost", "the node fell silent; follow again") from None
    except ConnectionRejected as error:
        raise Unavailable("node_unreachable", f"{url} refused: {error.status_code}") from None
    except HandshakeError as error:
        reason = str(error.__cause__ or error) or type(error).__name__
        raise Unavailable(
            "node_unreachable", f"no answer from {url} ({reason}); is the node running?"
        ) from None
    if patience.cancelled_caught:
        raise Unavailable("node_unreachable", f"no answer from {url} in time; is the node running?")


def _lost(closed: Any) -> Unavailable:
    reason = getattr(closed.reason, "reason", None)
    if reason == "subscriber_slow":
        return Unavailable("subscriber_slow", "this client fell behind; follow again and read on")
    return Unavailable("subscription_lost", "the node closed the connection; follow again")


def _malformed(text: str) -> Unavailable:
    return Unavailable("answer_malformed", f"no AIOS node would send {text[:80]!r}")


def _socket_url(url: str) -> str:
    return f"ws{url.removeprefix('http')}/ws"
