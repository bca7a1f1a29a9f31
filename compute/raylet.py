"""A supervised `ray start`: the head of a cluster, or a contributor's part of one.

It runs on a leash (`compute.leash`), so nothing of it survives this process; what an earlier run
left behind is ended first; and when it dies it is started again after a pause.
"""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trio

from compute.environment import (
    CONTRIBUTOR_LABEL,
    RAY_SUBFOLDER,
    TEMPORARY_FOLDER,
    is_listening,
    resource_of,
    set_environment,
)
from compute.leftovers import end_leftovers

OBJECT_STORE_BYTES: Final = 80_000_000
"""Ray's least is about 75 MiB; larger objects spill to disk."""
PAUSE_S: Final = 0.5
PAUSE_S_MAX: Final = 8.0
HEALTHY_S: Final = 30.0
"""After running this long, the next pause is the shortest again."""
POLL_S: Final = 0.25
STOP_S_MAX: Final = 8.0
SESSIONS_KEPT: Final = 3
"""Ray's log folders of earlier starts that are left in place."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RayletConfig:
    folder: Path
    """Private, short (Unix socket paths), one per `ray start`; see `short_folder`."""
    node_ip: str
    """This machine's address in the cluster; 127.0.0.1 cannot be joined, other 127.x can."""
    token_file: Path
    log_file: Path
    cpus: int = 1
    variables: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables for its processes."""


def head_arguments(config: RayletConfig, port: int) -> list[str]:
    """`ray start` arguments of a head."""
    return [
        "--head",
        f"--port={port}",
        "--include-dashboard=false",
        "--no-monitor",
        "--labels=aios.io/role=head",
        *_common_arguments(config),
    ]


def worker_arguments(config: RayletConfig, address: str, contributor: str) -> list[str]:
    """`ray start` arguments of a contributor; `contributor` is its address in text form."""
    return [
        f"--address={address}",
        f"--labels={CONTRIBUTOR_LABEL}={contributor}",
        f"--resources={json.dumps({resource_of(contributor): 1})}",
        *_common_arguments(config),
    ]


class Raylet:
    """One `ray start` on a leash."""

    def __init__(self, config: RayletConfig, arguments: Sequence[str], watched: str) -> None:
        self._config = config
        self._arguments = arguments
        self._watched = watched
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, after ending leftovers. Blocks up to seconds: call it in a worker thread."""
        ended = end_leftovers(self._config.folder)
        if ended:
            log.warning("ended %d processes that an earlier run left behind", ended)
        _drop_old_sessions(self._config.folder)
        leash = [sys.executable, "-m", "compute.leash", self._watched, "--"]
        ray = [sys.executable, "-m", "compute.ray_start", "--block"]
        with self._config.log_file.open("ab") as output:
            self._process = subprocess.Popen(
                [*leash, *ray, *self._arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                env=raylet_environment(self._config),
                start_new_session=True,
            )

    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll() if self._process else 0

    def stop(self) -> None:
        """End it and everything below it; blocks up to STOP_S_MAX."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        end_leftovers(self._config.folder)


async def supervise_raylet(
    raylet: Raylet, before: Callable[[], Awaitable[None]], after: Callable[[], Awaitable[None]]
) -> None:
    """Keep it running until cancelled: wait for `before`, start it, run `after` beside it."""
    pause_s = PAUSE_S
    while True:
        await before()
        begun_s = trio.current_time()
        try:
            await trio.to_thread.run_sync(raylet.start)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(after)
                while raylet.exit_code() is None:
                    await trio.sleep(POLL_S)
                log.warning("ray ended with code %s", raylet.exit_code())
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(raylet.stop)
        is_healthy = trio.current_time() - begun_s >= HEALTHY_S
        pause_s = PAUSE_S if is_healthy else min(2 * pause_s, PAUSE_S_MAX)
        await trio.sleep(pause_s)


async def wait_for_port(address: str) -> None:
    """Return when somebody listens at host:port."""
    while not await trio.to_thread.run_sync(is_listening, address):
        await trio.sleep(PAUSE_S)


async def run_until_signalled(work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` until it ends or SIGTERM or SIGINT comes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_on_signal, nursery.cancel_scope)
        await work()
        nursery.cancel_scope.cancel()


def raylet_environment(config: RayletConfig) -> dict[str, str]:
    """Environment of everything that belongs to this `ray start`."""
    environment = dict(os.environ) | dict(config.variables)
    set_environment(environment, config.token_file)
    environment[TEMPORARY_FOLDER] = str(config.folder)
    # Ray otherwise waits 30 s for a drained node before it obeys SIGTERM.
    environment["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"] = "0"
    return environment


async def _cancel_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            log.info("%s: stopping", signal.Signals(number).name)
            scope.cancel()


def _common_arguments(config: RayletConfig) -> list[str]:
    return [
        f"--node-ip-address={config.node_ip}",
        f"--num-cpus={config.cpus}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={config.folder / RAY_SUBFOLDER}",
        "--include-log-monitor=false",
        "--disable-usage-stats",
    ]


def _drop_old_sessions(folder: Path) -> None:
    sessions = sorted((folder / RAY_SUBFOLDER).glob("session_2*"), key=lambda path: path.name)
    for path in sessions[:-SESSIONS_KEPT]:
        shutil.rmtree(path, ignore_errors=True)
