"""Running libp2p's services so that they always end properly, and never drag ours down.

When a Trio scope is cancelled, libp2p's own clean-up is cancelled half-way: sockets stay open and
listeners, which are system tasks, go on accepting. And under load its tasks race with its closing
nurseries, which then raise `RuntimeError: Nursery is closed to new arrivals`. So each service runs
in a task of its own, shielded from its owner's cancellation, is told to end, and gets a bounded
time for it.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final, TypeVar

import trio

CLOSE_S_MAX: Final = 3.0
"""Time for a service to end after it was told to."""

T = TypeVar("T")


@asynccontextmanager
async def open_shielded(
    open_inside: Callable[[], AbstractAsyncContextManager[T]],
) -> AsyncIterator[T]:
    """Enter a context in a shielded task; leave it, in that task, when this one is left.

    What the context raises while it is open cancels the body and is raised here.
    """
    leave, left = trio.Event(), trio.Event()
    patience = trio.CancelScope(shield=True)

    async def live(task_status: Any) -> None:
        try:
            with patience:
                async with open_inside() as value:
                    task_status.started(value)
                    await leave.wait()
        except* RuntimeError as group:
            rest = group.split(lambda error: leave.is_set() and _is_closing_noise(error))[1]
            if rest is not None:
                raise rest from None
        finally:
            left.set()

    async with unwrapped(), trio.open_nursery() as nursery:
        value = await nursery.start(live)
        try:
            yield value
        finally:
            leave.set()
            patience.deadline = trio.current_time() + CLOSE_S_MAX
            with trio.CancelScope(shield=True):
                await left.wait()


@asynccontextmanager
async def unwrapped() -> AsyncIterator[None]:
    """Raise the one exception of a group of one by itself, so that callers catch it by type."""
    try:
        yield
    except BaseExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        raise error from None


def _is_closing_noise(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and "Nursery is closed" in str(error)
