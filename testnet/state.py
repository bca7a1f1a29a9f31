"""What runs right now: written by the supervisor, read by every other command."""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final

from p2p_aios.errors import Unavailable
from testnet.layout import Layout, write_json
from testnet.processes import ProcessId, boot_id, read_process
from testnet.service import Phase

LOCK_ATTEMPTS: Final = 5
"""`is_supervised` holds the lock for an instant itself; that must not look like a supervisor."""
LOCK_POLL_S: Final = 0.02


@dataclass(frozen=True, slots=True)
class ServiceState:
    name: str
    phase: Phase
    process: ProcessId | None
    """Of this run, or of the last one."""
    restarts: int
    exit_status: int | None


@dataclass(frozen=True, slots=True)
class EnsembleState:
    supervisor: ProcessId
    boot: str
    """Id of the system's run in which the process ids are valid."""
    started_ms: int
    ready: bool
    """Every node finalizes and every worker is joined (or was, once)."""
    waiting_for: tuple[str, ...]
    """What does not work yet, before it is ready."""
    failure: str | None
    """Why it went down by itself, in one sentence."""
    services: tuple[ServiceState, ...]
    leaders: tuple[ProcessId, ...]
    """Leaders of the sessions that ours were seen in, dead ones too: orphans still sit there."""

    def service(self, name: str) -> ServiceState | None:
        return next((service for service in self.services if service.name == name), None)


def write_state(layout: Layout, state: EnsembleState) -> None:
    write_json(layout.state_file, asdict(state))


def read_state(layout: Layout) -> EnsembleState | None:
    """None where it never ran since the system booted, or where the file (a hint) is no use."""
    try:
        state = _state_of(json.loads(layout.state_file.read_text()))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return state if state.boot == boot_id() else None


def _state_of(value: dict[str, Any]) -> EnsembleState:
    return EnsembleState(
        supervisor=ProcessId(**value["supervisor"]),
        boot=value["boot"],
        started_ms=value["started_ms"],
        ready=value["ready"],
        waiting_for=tuple(value["waiting_for"]),
        failure=value["failure"],
        services=tuple(_service_of(service) for service in value["services"]),
        leaders=tuple(ProcessId(**leader) for leader in value["leaders"]),
    )


def _service_of(value: dict[str, Any]) -> ServiceState:
    process = value["process"]
    return ServiceState(
        name=value["name"],
        phase=Phase(value["phase"]),
        process=ProcessId(**process) if process else None,
        restarts=value["restarts"],
        exit_status=value["exit_status"],
    )


@contextmanager
def hold_lock(layout: Layout) -> Iterator[None]:
    """Be the folder's one supervisor; the kernel lets go when the process ends, however.

    Raises Unavailable(`testnet_running`).
    """
    layout.root.mkdir(parents=True, exist_ok=True)
    handle = os.open(layout.lock_file, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _try_lock(handle):
            raise running_refusal(layout)
        me = read_process(os.getpid())
        if me is not None:
            os.truncate(handle, 0)
            os.pwrite(handle, f"{me.id.pid} {me.id.started_ticks}\n".encode(), 0)
        yield
    finally:
        os.close(handle)


def supervisor_of(layout: Layout) -> ProcessId | None:
    """Who holds the lock, or held it last."""
    try:
        pid, started_ticks = layout.lock_file.read_text().split()
        return ProcessId(int(pid), int(started_ticks))
    except (OSError, ValueError):
        return None


def is_supervised(layout: Layout) -> bool:
    """Whether a supervisor lives in the folder."""
    try:
        handle = os.open(layout.lock_file, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def running_refusal(layout: Layout) -> Unavailable:
    """Why no second supervisor starts in the folder."""
    return Unavailable(
        "testnet_running",
        f"a testnet runs in {layout.root}; `aios testnet status` shows it, "
        "`aios testnet down` ends it, --dir names another folder",
    )


def _try_lock(handle: int) -> bool:
    for _ in range(LOCK_ATTEMPTS):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOCK_POLL_S)
        else:
            return True
    return False
