"""One supervised child process: restarted when it dies.

Each is leader of its own session, so that Ctrl-C in the supervisor's terminal reaches the
supervisor only, which then stops its children in order. Output goes straight into a file: no pipe
that would break with the supervisor.
"""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import trio

from p2p_aios.errors import invariant
from testnet.logs import size_of
from testnet.processes import (
    ProcessId,
    marked_environment,
    read_process,
    signal_process,
    sweep,
)

BACKOFF_LEAST_S: Final = 0.5
BACKOFF_MOST_S: Final = 8.0
STEADY_S: Final = 10.0
"""Who lived this long is restarted with the least back-off again."""
SAID_BYTES_MAX: Final = 1 << 20
ORPHAN_GRACE_S: Final = 2.0
"""What outlives its launcher may end by itself for so long."""


class Phase(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    """It died; a restart follows."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """How to run one child."""

    name: str
    argv: tuple[str, ...]
    log: Path
    folder: Path
    """Working folder."""
    environment: Mapping[str, str]
    """Complete, but for the marks."""
    stop_s: float = 10.0
    """From SIGTERM to SIGKILL."""


class Service:
    """A child and its life. One task calls `run`; any other may call `stop`, once or more."""

    def __init__(self, spec: ServiceSpec, testnet: str, on_change: Callable[[], None]) -> None:
        self.spec = spec
        self.phase = Phase.STARTING
        self.process: ProcessId | None = None
        """Of this run, or of the last one; it leads the session of its descendants."""
        self.restarts = 0
        self.exit_status: int | None = None
        """Of the last run; negative for a signal."""
        self._log_start = 0
        self._testnet = testnet
        self._on_change = on_change
        self._stopping = trio.Event()
        self._stopped = trio.Event()

    def has_said(self, text: str) -> bool:
        """Whether this run's output, its first SAID_BYTES_MAX at least, holds `text`."""
        if self.phase is not Phase.RUNNING or not self.spec.log.exists():
            return False
        with open(self.spec.log, "rb") as log:
            log.seek(self._log_start if size_of(self.spec.log) >= self._log_start else 0)
            return text.encode() in log.read(SAID_BYTES_MAX)

    async def run(self) -> None:
        """Keep the child running until `stop`; only that ends it, cancellation does not."""
        with trio.CancelScope(shield=True):
            try:
                await self._keep_running()
            finally:
                self._enter(Phase.STOPPED)
                self._stopped.set()

    async def stop(self) -> None:
        """SIGTERM, SIGKILL after `stop_s`; returns when nothing of it is left."""
        self._stopping.set()
        # A stopped process (SIGSTOP) hears a SIGTERM only once it goes on.
        self._signal(signal.SIGTERM, signal.SIGCONT)
        with trio.move_on_after(self.spec.stop_s):
            await self._stopped.wait()
        if not self._stopped.is_set():
            self._signal(signal.SIGKILL)
        await self._stopped.wait()

    def _signal(self, *signals: int) -> None:
        if self.process is not None and self.phase is Phase.RUNNING:
            for signum in signals:
                signal_process(self.process, signum)

    async def _keep_running(self) -> None:
        backoff_s = BACKOFF_LEAST_S
        while not self._stopping.is_set():
            lived_s = await self._run_once()
            backoff_s = BACKOFF_LEAST_S if lived_s > STEADY_S else backoff_s
            if not self._stopping.is_set():
                self._enter(Phase.BACKING_OFF)
                with trio.move_on_after(backoff_s):
                    await self._stopping.wait()
                backoff_s = min(2 * backoff_s, BACKOFF_MOST_S)
                self.restarts += 1

    async def _run_once(self) -> float:
        """Run the child to its end, then end what it left behind; seconds it lived."""
        begun = trio.current_time()
        child = await self._open()
        row = read_process(child.pid)
        # Nobody has waited for the child yet, so its entry is there even if it has ended.
        invariant(row is not None, "a child stays in /proc until its parent waits for it")
        assert row is not None
        self.process = row.id
        self._enter(Phase.RUNNING)
        if self._stopping.is_set():  # asked while it was being started
            child.terminate()
        self.exit_status = await child.wait()
        lived_s = trio.current_time() - begun
        # What outlives its launcher (Ray's processes do) holds ports that the next run needs.
        # A gateway, though, ends by itself when its pipe closes.
        await sweep(self._testnet, self.spec.name, (self.process,), grace_s=ORPHAN_GRACE_S)
        return lived_s

    async def _open(self) -> trio.Process:
        self.spec.log.parent.mkdir(parents=True, exist_ok=True)
        self._log_start = size_of(self.spec.log)
        # Appending, so that writing goes on at the end after the file was cut.
        output = os.open(self.spec.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            return await trio.lowlevel.open_process(
                self.spec.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.spec.folder,
                env=marked_environment(self._testnet, self.spec.name, self.spec.environment),
                start_new_session=True,
            )
        finally:
            os.close(output)

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._on_change()
