"""Finalized blocks, from the node's driver to whoever follows them.

The driver calls `publish`, which never waits: every follower has a bounded queue, and one whose
queue is full is dropped, not waited for. A dropped follower sees its queue end with `is_slow` set.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from p2p_aios.errors import Unavailable
from p2p_aios.rpc.finalized import Finalized
from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.receipt import BlockOutcome

QUEUE_BLOCKS_MAX: Final = 256
"""How far a follower may lag: a node that catches up publishes in bursts."""
FOLLOWERS_MAX: Final = 512


class Follower:
    """One reader's bounded queue; iterate over it."""

    def __init__(self, queue_blocks_max: int, on_overflow: Callable[[], None]) -> None:
        self._send, self._receive = trio.open_memory_channel[Finalized](queue_blocks_max)
        self._on_overflow = on_overflow
        self.is_slow = False
        """Set once the queue overflowed; what was in it can still be read."""

    def __aiter__(self) -> "Follower":
        return self

    async def __anext__(self) -> Finalized:
        return await self._receive.__anext__()

    def offer_nowait(self, finalized: Finalized) -> bool:
        """Whether there was room."""
        try:
            self._send.send_nowait(finalized)
        except trio.WouldBlock:
            self.is_slow = True
            self._send.close()
            self._on_overflow()
            return False
        return True


class Feed:
    """Fans finalized blocks out to followers and wakes those who wait for the next one."""

    def __init__(self, queue_blocks_max: int = QUEUE_BLOCKS_MAX) -> None:
        self._queue_blocks_max = queue_blocks_max
        self._followers: list[Follower] = []
        self._next = trio.Event()

    def publish(self, finalized: FinalizedBlock, outcome: BlockOutcome) -> None:
        """Tell everybody; call it after the block and its outcome can be read back."""
        self._next.set()
        self._next = trio.Event()
        if self._followers:
            seen = Finalized(finalized.block, outcome)
            self._followers = [each for each in self._followers if each.offer_nowait(seen)]

    @property
    def count(self) -> int:
        """Followers that keep up."""
        return len(self._followers)

    def next_published(self) -> trio.Event:
        """Set when another block is published; take it before looking, so that none is missed."""
        return self._next

    def open_follower(self, on_overflow: Callable[[], None] = lambda: None) -> Follower:
        """Every block published from now on, until `close_follower`.

        `on_overflow` is called, by the publisher, when this follower is dropped as too slow.
        Raises Unavailable(`overloaded`).
        """
        if len(self._followers) >= FOLLOWERS_MAX:
            raise Unavailable("overloaded", f"{FOLLOWERS_MAX} followers already; try again later")
        follower = Follower(self._queue_blocks_max, on_overflow)
        self._followers.append(follower)
        return follower

    def close_follower(self, follower: Follower) -> None:
        """Forget it; one that was dropped already is no fault."""
        if follower in self._followers:
            self._followers.remove(follower)

    @contextmanager
    def follow(self) -> Iterator[Follower]:
        """Every block published while the context is open; raises as `open_follower`."""
        follower = self.open_follower()
        try:
            yield follower
        finally:
            self.close_follower(follower)
