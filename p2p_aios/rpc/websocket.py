"""JSON-RPC over WebSocket at `/ws`, with subscriptions.

    -> {"jsonrpc": "2.0", "id": 1, "method": "subscribe", "params": {"topic": "blocks"}}
    <- {"jsonrpc": "2.0", "id": 1, "result": 1}
    <- {"jsonrpc": "2.0", "method": "notify", "params": {"subscription": 1, "result": {...}}}

Topics: `blocks` (a BlockSummary each) and `events` (an EventNotice each; `kinds` and `subject`
narrow them). All other methods work here too. A client that reads too slowly is closed with 4008.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Annotated, Final

import trio
from starlette.websockets import WebSocket

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Size
from p2p_aios.errors import Invalid
from p2p_aios.rpc.dispatch import Dispatcher
from p2p_aios.rpc.feed import Finalized, Follower
from p2p_aios.rpc.projection import EventFilter, KindNames, SubjectText, make_filter
from p2p_aios.rpc.registry import Method, Service, method

SUBSCRIPTIONS_MAX: Final = 16
"""Per connection."""
CALLS_MAX: Final = 8
"""Messages of one connection in work at a time; the next waits unread."""
CLOSE_SLOW: Final = 4008
"""Close code: the client did not keep up with its subscription."""
SLOW_REASON: Final = "subscriber_slow"
_CLOSE_S_MAX: Final = 2


@dataclass(frozen=True, slots=True)
class Subscribe:
    topic: Annotated[str, Size(1, 32)]
    kinds: KindNames = ()
    """Event type names; none: all."""
    subject: SubjectText | None = None


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    subscription: int


@dataclass(frozen=True, slots=True)
class Subscription:
    id: int
    wanted: EventFilter | None
    """None: blocks."""
    follower: Follower
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    """Ends its pump."""


class Session:
    """One WebSocket: its calls in work and its subscriptions."""

    def __init__(self, socket: WebSocket, dispatcher: Dispatcher) -> None:
        self._socket = socket
        self._dispatcher = dispatcher
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
                await self._send(answer.decode("ascii"))
        finally:
            self._calls.release()
        # Only now, so that no notification overtakes the answer that names its subscription.
        for subscription in opened:
            nursery.start_soon(self._forward, subscription)

    def _session_methods(self, opened: list[Subscription]) -> dict[str, Method]:
        @method("subscribe", Subscribe, int)
        async def subscribe(_: Service, asked: Subscribe) -> int:
            """Follow finalized blocks or their events."""
            subscription = self._subscribe(_read_topic(asked))
            opened.append(subscription)
            return subscription.id

        @method("unsubscribe", Unsubscribe, bool)
        async def unsubscribe(_: Service, asked: Unsubscribe) -> bool:
            """End a subscription; false where there is none of that number."""
            subscription = self._subscriptions.pop(asked.subscription, None)
            if subscription is None:
                return False
            self._feed.close_follower(subscription.follower)
            subscription.scope.cancel()
            return True

        return {each.name: each for each in (subscribe, unsubscribe)}

    def _subscribe(self, wanted: EventFilter | None) -> Subscription:
        if len(self._subscriptions) >= SUBSCRIPTIONS_MAX:
            raise Invalid("too_many_subscriptions", f"at most {SUBSCRIPTIONS_MAX} per connection")
        self._last_id += 1
        subscription = Subscription(self._last_id, wanted, self._feed.open_follower(self._drop))
        self._subscriptions[subscription.id] = subscription
        return subscription

    async def _forward(self, subscription: Subscription) -> None:
        with subscription.scope:
            async for finalized in subscription.follower:
                for result in _select(finalized, subscription.wanted):
                    note = {"subscription": subscription.id, "result": result}
                    message = {"jsonrpc": "2.0", "method": "notify", "params": note}
                    await self._send(json.dumps(message, separators=(",", ":")))

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


def _read_topic(asked: Subscribe) -> EventFilter | None:
    """The event filter; None for blocks."""
    match asked.topic:
        case "blocks":
            return None
        case "events":
            return make_filter(asked.kinds, asked.subject)
    raise Invalid("unknown_topic", f"no topic {asked.topic!r}; there are blocks and events")


def _select(finalized: Finalized, wanted: EventFilter | None) -> Iterator[object]:
    if wanted is None:
        yield schema.to_json(finalized.summary)
        return
    for notice in finalized.events:
        if wanted.passes(notice.event):
            yield schema.to_json(notice)
