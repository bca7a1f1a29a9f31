"""The supervisor's life around an ensemble: one per folder, ended by a signal or its leash.

On a leash it goes down when a pipe closes: then whoever started it may be killed in any way, and
nothing stays behind.
"""

import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Final

import trio

from p2p_aios.errors import AiosError
from testnet.ensemble import Ensemble, Stages
from testnet.layout import Layout, Plan, read_plan, runtime_folder
from testnet.ports import require_free
from testnet.state import hold_lock

ENDING: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that take the testnet down in order."""
LEASH_READ_BYTES: Final = 1024
LOG = logging.getLogger("aios.testnet")

Ender = Callable[[], Awaitable[None]]
"""Returns when the testnet shall go down."""
Companion = Callable[[Ensemble], Awaitable[None]]


async def supervise(
    layout: Layout,
    compose: Callable[[Layout, Plan], Stages],
    until_ready: Companion,
    watch: Companion | None = None,
    leash: int | None = None,
) -> None:
    """Run the testnet of a folder until a signal of ENDING, the leash, or a failure to come up.

    `compose` says what to run, `until_ready` returns once it all works, `watch` runs beside it (a
    live view). `leash`: file descriptor whose end of file takes it down.
    Raises what `read_plan`, `hold_lock`, `require_free` and `until_ready` raise.
    """
    plan = read_plan(layout)
    # Signals are held from before the first child to after the last: a second Ctrl-C is no hurry.
    with hold_lock(layout), trio.open_signal_receiver(*ENDING) as signals:
        ensemble = Ensemble(layout, plan, compose(layout, plan))
        await ensemble.end_leftovers()
        require_free(plan.ports())
        runtime = runtime_folder(plan)
        shutil.rmtree(runtime, ignore_errors=True)
        runtime.mkdir(mode=0o700)
        enders: list[Ender] = [partial(_await_signal, signals)]
        if leash is not None:
            enders.append(partial(_await_end, leash))
        try:
            await _run_until(enders, ensemble, partial(until_ready, ensemble), watch)
        finally:
            shutil.rmtree(runtime, ignore_errors=True)


async def _run_until(
    enders: list[Ender],
    ensemble: Ensemble,
    until_ready: Callable[[], Awaitable[None]],
    watch: Companion | None,
) -> None:
    failure: AiosError | None = None
    async with trio.open_nursery() as nursery:
        for ender in enders:
            nursery.start_soon(_cancel_after, ender, nursery.cancel_scope)
        if watch is not None:
            nursery.start_soon(watch, ensemble)
        try:
            await ensemble.run(until_ready)
        except AiosError as error:  # raised below, outside the nursery and its groups
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _cancel_after(ender: Ender, scope: trio.CancelScope) -> None:
    await ender()
    scope.cancel()


async def _await_signal(signals: AsyncIterator[int]) -> None:
    async for signum in signals:
        LOG.info("%s: going down", signal.Signals(signum).name)
        return


async def _await_end(descriptor: int) -> None:
    async with trio.lowlevel.FdStream(os.dup(descriptor)) as stream:
        while await stream.receive_some(LEASH_READ_BYTES):
            pass
    LOG.info("the leash closed: going down")
