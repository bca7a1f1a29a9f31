"""JSON-RPC over WebSocket at `/ws`, with subscriptions.

    -> {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"topic": "blocks"}}
    <- {"jsonrpc": "2.0", "id": 1, "result": 1}
    <- {"jsonrpc": "2.0", "method": "notify", "params": {"subscription": 1, "result": {...}}}

`rpc.topics` says what can be followed. All other methods work here too. A client that reads too
slowly is closed with 4008.
"""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Final

import trio
from starlette.websockets import WebSocket

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.bodies import Unsent
from p2p_aios.rpc.dispatch import Dispatcher, write_json
from p2p_aios.rpc.faults import error_response
from p2p_aios.rpc.feed import Follower
from p2p_aios.rpc.registry import Method, Service
from p2p_aios.rpc.topics import (
    Subscribe,
    Unsubscribe,
    Wanted,
    read_topic,
    subscribe,
    unsubscribe,
)

SUBSCRIPTIONS_MAX: Final = 16
"""Per connection."""
CALLS_MAX: Final = 8
"""Messages of one connection in work at a time; the next waits unread."""
CLOSE_SLOW: Final = 4008
"""Close code: the client did not keep up with its subscription."""
SLOW_REASON: Final = "subscriber_slow"
_CLOSE_S_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Subscription:
    id: int
    wanted: Wanted
    follower: Follower
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Ends its pump."""


class Session:
    """One WebSocket: its calls in work and its subscriptions."""

    def __init__(self, socket: WebSocket, dispatcher: Dispatcher, unsent: Unsent) -> None:
        self._socket = socket
        self._dispatcher = dispatcher
        self._unsent = unsent
        self._feed = dispatcher.service.feed
        self._calls = trio.Semaphore(CALLS_MAX)
        self._writing = trio.Lock()
        self._subscriptions: dict[int, Subscription] = {}
        self._last_id = 0
        self._is_slow = False
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Serve until the client leaves or falls behind."""
        await self._socket.accept()
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await self._receive(nursery)
                    nursery.cancel_scope.cancel()
        finally:
            for subscription in self._subscriptions.values():
                self._feed.close_follower(subscription.follower)
        if self._is_slow:
            await self._close(CLOSE_SLOW, SLOW_REASON)

    async def _receive(self, nursery: trio.Nursery) -> None:
        while (frame := await self._socket.receive())["type"] == "websocket.receive":
            message = frame.get("text")
            await self._calls.acquire()
            nursery.start_soon(
                self._answer, frame["bytes"] if message is None else message, nursery
            )

    async def _answer(self, message: bytes | str, nursery: trio.Nursery) -> None:
        opened: list[Subscription] = []
        try:
            methods = {**self._dispatcher.methods, **self._session_methods(opened)}
            answer = await replace(self._dispatcher, methods=methods).answer(message)
            if answer is not None:
                await self._send_answer(answer)
        finally:
            self._calls.release()
        # Only now, so that no notification overtakes the answer that names its subscription.
        for subscription in opened:
            nursery.start_soon(self._forward, subscription)

    async def _send_answer(self, answer: bytes) -> None:
        try:
            with self._unsent.holding(len(answer)):
                await self._send(answer.decode("ascii"))
        except Unavailable as fault:
            await self._send(write_json(error_response(fault)).decode("ascii"))

    def _session_methods(self, opened: list[Subscription]) -> dict[str, Method]:
        async def begin(_: Service, asked: Subscribe) -> int:
            subscription = self._subscribe(read_topic(asked))
            opened.append(subscription)
            return subscription.id

        async def end(_: Service, asked: Unsubscribe) -> bool:
            subscription = self._subscriptions.pop(asked.subscription, None)
            if subscription is None:
                return False
            self._feed.close_follower(subscription.follower)
            subscription.scope.cancel()
            return True

        bound = (replace(subscribe, handle=begin), replace(unsubscribe, handle=end))
        return {each.name: each for each in bound}

    def _subscribe(self, wanted: Wanted) -> Subscription:
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise Invalid("too_many_subscriptions", f"at most {SUBSCRIPTIONS_MAX} per connection")
        self._last_id += 1
        subscription = Subscription(self._last_id, wanted, self._feed.open_follower(self._drop))
        self._subscriptions[subscription.id] = subscription
        return subscription

    async def _forward(self, subscription: Subscription) -> None:
        service = self._dispatcher.service
        head = '{"jsonrpc":"2.0","method":"notify","params":{"subscription":%d,"result":'
        head %= subscription.id
        with subscription.scope:
            async for finalized in subscription.follower:
                for text in await subscription.wanted.select(finalized, service):
                    await self._send(f"{head}{text}}}}}")

    def _drop(self) -> None:
        self._is_slow = True
        self._scope.cancel()

    async def _close(self, code: int, reason: str) -> None:
        # A client that reads nothing gets no close frame either: the connection just ends.
        with trio.move_on_after(_CLOSE_S_MAX), suppress(RuntimeError):
            await self._socket.close(code, reason)

    async def _send(self, text: str) -> None:
        async with self._writing:
            await self._socket.send_text(text)
