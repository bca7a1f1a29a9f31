"""Following the chain through whichever node is there: each notice once, and none left out.

When a node goes, the subscriber goes on at the next (at the same one where there is no other, if it
returns in time). Notices are tied to blocks: what fell between the two connections is read from the
new node's blocks, from where the subscriber stood up to the node's tip; what the new subscription
repeats is passed over. Both go through one socket, for another node may stand elsewhere.
"""

import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import trio

from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.sdk.answers import read_answer
from p2p_aios.sdk.failover import PAUSE_S_FIRST, PAUSE_S_MAX, Nodes
from p2p_aios.sdk.socket import NodeSocket, open_socket
from p2p_aios.types.views import PAGE_MAX, BlockSummaries, BlockSummary, NodeStatus
from p2p_aios.units import Height

GAP_BLOCKS_MAX: Final = 172_800
"""Most blocks read to close a gap: a day's."""
QUIET_S_MAX: Final = 60
"""Without a notice for so long, the subscriber asks where the node stands: else whoever waits for
something rare would have days to make up for. Longer than any notice is under way."""
ALL: Final = 1 << 62
"""More notices than a block has."""
FINAL: Final = frozenset({"subscriber_slow", "subscription_gap"})
"""Codes that another node does not heal."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Topic(Generic[T]):
    """What to follow, and how to make up for what was missed of it."""

    params: dict[str, Any]
    """Of `subscribe`."""
    kind: type[T]
    height_of: Callable[[T], Height]
    past: Callable[[NodeSocket, BlockSummary], Awaitable[Sequence[T]]] | None
    """A block's notices, in order; None for a topic whose past blocks do not tell."""


class Notifications(Generic[T]):
    """What a subscription brings: `async for notice in notifications`."""

    def __init__(self, channel: trio.abc.ReceiveChannel[Any]) -> None:
        """For `open_subscription` only."""
        self._channel = channel
        self._fault: AiosError | None = None

    def __aiter__(self) -> "Notifications[T]":
        return self

    async def __anext__(self) -> T:
        """Raises Unavailable: `subscriber_slow`, `subscription_lost`, `subscription_gap`,
        `node_unreachable`."""
        if self._fault is not None:
            raise self._fault
        notice = await self._channel.receive()
        if isinstance(notice, AiosError):
            self._fault = notice
            raise notice
        return notice  # type: ignore[no-any-return]


@asynccontextmanager
async def open_subscription(
    nodes: Nodes, token: str | None, topic: Topic[T]
) -> AsyncIterator[Notifications[T]]:
    """Follow from now on. Raises the node's refusal, or Unavailable(`node_unreachable`)."""
    async with _follow(nodes, token, topic) as channel:
        notifications = Notifications[T](channel)
        await anext(notifications)
        yield notifications


@trio.as_safe_channel  # type: ignore[attr-defined, untyped-decorator]  # trio-typing is older
async def _follow(nodes: Nodes, token: str | None, topic: Topic[Any]) -> AsyncGenerator[Any, None]:
    """None once subscribed, then notices, at last the fault that ended it."""
    progress: _Progress | None = None
    failures = 0
    while True:
        url, before = nodes.url, progress and progress.place
        try:
            async with open_socket(url, token) as socket:
                tip = await _subscribe(socket, topic)
                if progress is None:
                    progress = _Progress(tip)
                    yield None
                reader = _Reader(socket, topic, progress, tip)
                while True:
                    for notice in await reader.next_batch():
                        yield notice
        except AiosError as fault:
            failures = failures + 1 if before == (progress and progress.place) else 1
            is_final = isinstance(fault, Invalid) or fault.code in FINAL
            is_lost = progress is not None and topic.past is None
            if is_final or is_lost or failures >= nodes.tries * nodes.count:
                yield fault
                return
        if nodes.url == url:
            nodes.leave()
        if failures % nodes.count == 0:
            pause_s = min(PAUSE_S_FIRST * 2 ** (failures // nodes.count - 1), PAUSE_S_MAX)
            await trio.sleep(pause_s * random.uniform(0.5, 1))


async def _subscribe(socket: NodeSocket, topic: Topic[Any]) -> Height:
    """Where the node stood then or later: blocks beyond it will be told of."""
    await socket.call("subscribe", topic.params)
    return await _height(socket)


async def _height(socket: NodeSocket) -> Height:
    status: NodeStatus = read_answer(NodeStatus, await socket.call("node.status", {}))
    return status.height


class _Progress:
    """Which notices the subscriber has: all of earlier blocks, some of one."""

    def __init__(self, height: Height) -> None:
        """Follow what comes after the block at `height`."""
        self.place = (height, ALL)
        """Height of the last block read, and how many of its notices were."""
        self._known = self.place
        """What this connection need not tell again."""
        self._met = 0
        """Notices of the known block that it told."""

    def resume(self) -> Height:
        """On another connection: the first block to read again."""
        self._known, self._met = self.place, 0
        height, taken = self.place
        return Height(height + 1) if taken == ALL else height

    def complete(self, height: Height) -> None:
        """All blocks up to `height` are read."""
        self.place = self._known = (height, ALL)

    def pass_over(self, height: Height) -> None:
        """Up to `height` there was nothing more to tell."""
        self.place = max(self.place, (height, ALL))

    def take(self, height: Height) -> bool:
        """Count a notice of the block at `height`; whether it is new."""
        known, taken = self._known
        self._met += height == known
        if height < known or (height == known and self._met <= taken):
            return False
        self.place = (height, self.place[1] + 1 if height == self.place[0] else 1)
        return True


class _Reader(Generic[T]):
    """One connection's notices: first those missed up to `tip`, then live ones."""

    def __init__(
        self, socket: NodeSocket, topic: Topic[T], progress: _Progress, tip: Height
    ) -> None:
        """Raises Unavailable(`subscription_gap`)."""
        self._socket = socket
        self._topic = topic
        self._progress = progress
        self._tip = tip
        self._stood = tip
        """Where the node was, at least QUIET_S_MAX before it is asked again."""
        self._next = progress.resume()
        self._summaries: deque[BlockSummary] = deque()
        if tip - self._next >= GAP_BLOCKS_MAX:
            raise Unavailable(
                "subscription_gap",
                f"{tip - self._next + 1} blocks from height {self._next} on are too many to make "
                "up for; read them with blocks(), then follow again",
            )

    async def next_batch(self) -> list[T]:
        """New notices of the next missed block, or the next live one; perhaps none."""
        past = self._topic.past
        if past is None:
            return [await self._live()]
        if self._next > self._tip:
            return self._new([await self._live()])
        notices = self._new(await past(self._socket, await self._next_summary()))
        self._progress.complete(self._next)
        self._next = Height(self._next + 1)
        return notices

    async def _next_summary(self) -> BlockSummary:
        if not self._summaries:
            page = {"first": self._next, "count": min(PAGE_MAX, self._tip - self._next + 1)}
            answer = await self._socket.call("block.range", page)
            self._summaries.extend(read_answer(BlockSummaries, answer))
        if not self._summaries or self._summaries[0].header.height != self._next:
            raise Unavailable("answer_malformed", f"the node left out block {self._next}")
        return self._summaries.popleft()

    async def _live(self) -> T:
        while True:
            with trio.move_on_after(QUIET_S_MAX):
                notice: T = read_answer(self._topic.kind, await self._socket.next_notice())
                return notice
            self._progress.pass_over(self._stood)
            self._stood = await _height(self._socket)

    def _new(self, notices: Sequence[T]) -> list[T]:
        return [each for each in notices if self._progress.take(self._topic.height_of(each))]
