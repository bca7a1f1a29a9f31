"""Starting a testnet in the background, waiting for it, and taking it down.

Whoever started it may be gone: all that is needed lies in the folder and in /proc.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import trio

from p2p_aios.errors import Unavailable
from testnet.layout import Layout, Plan, read_plan, runtime_folder
from testnet.logs import tail
from testnet.processes import ProcessId, find_processes, signal_process, sweep
from testnet.service import ORPHAN_GRACE_S
from testnet.state import EnsembleState, is_supervised, read_state, running_refusal, supervisor_of

PROGRAM: Final = ("-m", "testnet")
"""The supervisor, as arguments of Python; tests put another in its place."""
READY_S_MAX: Final = 180.0
STOP_S_MAX: Final = 45.0
"""For the supervisor's orderly end: two stages of at most 10 s, and a sweep."""
KILLED_S_MAX: Final = 5.0
"""For a killed supervisor to let go of its lock."""
POLL_S: Final = 0.1
LOG_TAIL_LINES: Final = 12

Progress = Callable[[EnsembleState], None]


@dataclass(frozen=True, slots=True)
class Ended:
    """What `take_down` found to do."""

    was_running: bool
    ended: int
    """Processes that were there."""


def start_supervisor(
    layout: Layout,
    leash: int | None = None,
    program: Sequence[str] = PROGRAM,
) -> "subprocess.Popen[bytes]":
    """Start `python -m testnet` in a session of its own; `leash`: its standard input.

    Raises Unavailable(`testnet_running`) where one lives in the folder already.
    """
    if is_supervised(layout):
        raise running_refusal(layout)
    layout.logs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, *program, str(layout.root)]
    with open(layout.log("supervisor"), "ab") as log:
        return subprocess.Popen(
            [*command, *(["--leash"] if leash is not None else [])],
            stdin=subprocess.DEVNULL if leash is None else leash,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


async def wait_ready(
    layout: Layout,
    supervisor: "subprocess.Popen[bytes]",
    on_progress: Progress = lambda _state: None,
    limit_s: float = READY_S_MAX,
) -> EnsembleState:
    """Until everything works; `on_progress` is called with each new state on the way.

    Raises Unavailable: `testnet_failed` with the log's end, `testnet_slow`.
    """
    told: EnsembleState | None = None
    with trio.move_on_after(limit_s):
        while supervisor.poll() is None:
            state = read_state(layout)
            if state is not None and state.supervisor.pid == supervisor.pid:
                if state != told:
                    on_progress(state)
                if state.ready:
                    return state
                told = state
            await trio.sleep(POLL_S)
        raise Unavailable(
            "testnet_failed",
            f"the testnet did not come up; end of {layout.log('supervisor')}:\n"
            + "\n".join(tail(layout.log("supervisor"), LOG_TAIL_LINES)),
        )
    raise Unavailable(
        "testnet_slow",
        f"not ready after {limit_s:.0f} s; see `aios testnet status` and `aios testnet logs`",
    )


@asynccontextmanager
async def open_testnet(
    layout: Layout,
    on_progress: Progress = lambda _state: None,
    program: Sequence[str] = PROGRAM,
) -> AsyncIterator[EnsembleState]:
    """A running testnet for the length of the block; it goes down even if this process is killed.

    Raises as `start_supervisor` and `wait_ready` do.
    """
    reader, leash = os.pipe()
    try:
        supervisor = start_supervisor(layout, reader, program)
    except BaseException:
        os.close(leash)
        raise
    finally:
        os.close(reader)
    try:
        yield await wait_ready(layout, supervisor, on_progress)
    finally:
        os.close(leash)
        with trio.CancelScope(shield=True):
            await take_down(layout)
            await trio.to_thread.run_sync(supervisor.wait)


async def take_down(layout: Layout) -> Ended:
    """End the testnet of a folder and all its processes, whatever became of its supervisor.

    Raises Invalid(`testnet_missing`), Unavailable(`testnet_stuck`).
    """
    plan = read_plan(layout)
    state = read_state(layout)
    leaders = state.leaders if state else ()
    was_running = is_supervised(layout)
    before = find_processes(plan.id, leaders=leaders)
    supervisor = supervisor_of(layout)
    if was_running and supervisor is not None:
        await _end_supervisor(layout, supervisor)
        state = read_state(layout)
    # Read again: the supervisor may have restarted something before it heard the signal.
    every_leader = {*leaders, *(state.leaders if state else ())}
    stuck = await sweep(plan.id, leaders=every_leader, grace_s=ORPHAN_GRACE_S)
    _remove_runtime(plan)
    if stuck or is_supervised(layout):
        raise Unavailable(
            "testnet_stuck",
            f"still there: {', '.join(str(row.id.pid) for row in stuck) or 'the supervisor'}",
        )
    return Ended(was_running, len(before) + was_running)


async def _end_supervisor(layout: Layout, supervisor: ProcessId) -> None:
    signal_process(supervisor, signal.SIGTERM)
    signal_process(supervisor, signal.SIGCONT)
    begun_s = time.monotonic()
    # Its lock, not its process, says when it is gone: a process that looks dead may still hold it.
    while is_supervised(layout):
        waited_s = time.monotonic() - begun_s
        if waited_s > STOP_S_MAX + KILLED_S_MAX:
            return
        if waited_s > STOP_S_MAX:
            signal_process(supervisor, signal.SIGKILL)
        await trio.sleep(POLL_S)


def _remove_runtime(plan: Plan) -> None:
    shutil.rmtree(runtime_folder(plan), ignore_errors=True)
