"""Writes from Trio: each whole transaction inside one worker-thread call, one at a time."""

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


class SerialWriter:
    """The one place from which a process writes to its stores.

    Calls run in worker threads in the order in which they were made. A cancelled caller waits for
    its transaction to end: it is never left half observed.
    """

    def __init__(self) -> None:
        self._limiter = trio.CapacityLimiter(1)

    async def run(self, write: Callable[..., T], *args: object) -> T:
        """`write(*args)` in a thread; blocks nothing but later writes."""
        return await trio.to_thread.run_sync(write, *args, limiter=self._limiter)
