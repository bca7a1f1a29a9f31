"""Finding and ending the real processes of a testnet, however they lost their parent.

Every child is started with two marks in its environment, the testnet's id and its service's name,
and as leader of its own session. A process belongs to a service if it carries the marks, descends
from one that does, or sits in a session that such a one leads or led: Ray's workers overwrite
their environment, and orphans change their parent, but neither changes all three. So nothing
escapes, even where the supervisor was killed and its memory is gone.

A process is named by pid *and* start time, and signalled through a pid file descriptor: a pid that
was reused is never hit. Reads /proc, as Linux has it.
"""

import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

TESTNET_MARK: Final = "AIOS_TESTNET"
SERVICE_MARK: Final = "AIOS_TESTNET_SERVICE"
SWEEP_POLL_S: Final = 0.05
SWEEP_S_MAX: Final = 20.0
"""Killed processes that are not gone by then hang in the kernel: give up and say so."""
_PROC: Final = Path("/proc")
_BOOT_ID: Final = _PROC / "sys/kernel/random/boot_id"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process, for ever: a reused pid has another start time."""

    pid: int
    started_ticks: int
    """Clock ticks from boot to its start (field 22 of /proc/PID/stat)."""


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """What /proc says of one process."""

    id: ProcessId
    parent: int
    session: int
    state: str
    """One letter; Z is a zombie, T stopped."""

    @property
    def is_leader(self) -> bool:
        """Of its session."""
        return self.session == self.id.pid


def read_process(pid: int) -> ProcessRow | None:
    """None where there is no such process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command, in parentheses, may hold blanks and parentheses itself.
    rest = stat[stat.rindex(")") + 2 :].split()
    return ProcessRow(
        ProcessId(pid, int(rest[19])), parent=int(rest[1]), session=int(rest[3]), state=rest[0]
    )


def boot_id() -> str:
    """Which run of the system this is: process ids mean nothing across two."""
    return _BOOT_ID.read_text().strip()


def is_alive(process: ProcessId) -> bool:
    """Whether it runs (a zombie does not)."""
    row = read_process(process.pid)
    return row is not None and row.id == process and row.state != "Z"


def command_of(pid: int) -> tuple[str, ...]:
    """Its command line; empty where it is gone or not ours to read."""
    try:
        raw = (_PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ()
    return tuple(part.decode(errors="replace") for part in raw.split(b"\0") if part)


def signal_process(process: ProcessId, signum: int) -> bool:
    """Send a signal to exactly this process; False where it is gone."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    try:
        # Compared after opening: from here on the handle means one process only.
        row = read_process(process.pid)
        if row is None or row.id != process:
            return False
        signal.pidfd_send_signal(handle, signum)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def find_processes(
    testnet: str, service: str | None = None, leaders: Iterable[ProcessId] = ()
) -> tuple[ProcessRow, ...]:
    """Every living process of a testnet, or of one of its services, oldest first.

    `leaders`: children once started, maybe dead now; what is left of their sessions counts too.
    The calling process and its ancestors are never among them.
    """
    rows = {row.id.pid: row for row in _all_rows()}
    marked = {pid for pid in rows if _is_marked(pid, testnet, service)}
    sessions = {leader.pid: leader for leader in leaders}
    # A living leader vouches for its session: a marked process may sit in a stranger's.
    for pid in marked & {row.session for row in rows.values()}:
        sessions.setdefault(pid, rows[pid].id)
    members = marked | {pid for pid, row in rows.items() if _is_member(row, sessions, rows)}
    found = _with_descendants(members, rows) - _ancestors(os.getpid(), rows)
    living = [rows[pid] for pid in found if rows[pid].state != "Z"]
    return tuple(sorted(living, key=lambda row: (row.id.started_ticks, row.id.pid)))


async def sweep(
    testnet: str,
    service: str | None = None,
    leaders: Iterable[ProcessId] = (),
    grace_s: float = 0.0,
) -> tuple[ProcessRow, ...]:
    """End every process of a testnet or service: SIGTERM, then after `grace_s` SIGKILL.

    Returns what even that did not end within SWEEP_S_MAX; normally nothing.
    """
    leaders = tuple(leaders)
    begun = time.monotonic()
    asked: set[ProcessId] = set()
    while found := find_processes(testnet, service, leaders):
        waited_s = time.monotonic() - begun
        if waited_s > grace_s + SWEEP_S_MAX:
            return found
        for process in (row.id for row in found):
            if waited_s >= grace_s:
                signal_process(process, signal.SIGKILL)
            elif process not in asked:
                signal_process(process, signal.SIGTERM)
                asked.add(process)
        await trio.sleep(SWEEP_POLL_S)
    return ()


def marked_environment(testnet: str, service: str, base: Mapping[str, str]) -> dict[str, str]:
    """`base` with the marks by which `find_processes` knows its own."""
    return {**base, TESTNET_MARK: testnet, SERVICE_MARK: service}


def _all_rows() -> Iterable[ProcessRow]:
    for entry in os.listdir(_PROC):
        if entry.isdecimal() and (row := read_process(int(entry))) is not None:
            yield row


def _is_marked(pid: int, testnet: str, service: str | None) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:  # gone, or another user's
        return False
    if f"{TESTNET_MARK}={testnet}".encode() not in environment:
        return False
    return service is None or f"{SERVICE_MARK}={service}".encode() in environment


def _is_member(
    row: ProcessRow, sessions: Mapping[int, ProcessId], rows: Mapping[int, ProcessRow]
) -> bool:
    """Whether it sits in one of the sessions, and that session is still the one we mean."""
    leader = sessions.get(row.session)
    if leader is None:
        return False
    # The kernel reuses a session's number once it is empty: its leader is then another process.
    is_reused = leader.pid in rows and rows[leader.pid].id != leader
    return not is_reused and row.id.started_ticks >= leader.started_ticks


def _ancestors(pid: int, rows: Mapping[int, ProcessRow]) -> set[int]:
    line = set()
    while pid in rows and pid not in line:
        line.add(pid)
        pid = rows[pid].parent
    return line


def _with_descendants(members: set[int], rows: Mapping[int, ProcessRow]) -> set[int]:
    found = set(members)
    while more := {pid for pid, row in rows.items() if row.parent in found} - found:
        found |= more
    return found
