"""Run a command so that nothing of it outlives its owner.

    python -m compute.leash NAMES -- COMMAND...

`ray start` leaves its servers behind when it is killed. The leash adopts every orphan below it
(PR_SET_CHILD_SUBREAPER) and ends all its descendants, by process tree and never by name, when

- its standard input reaches end of file: the owner is gone, however it died;
- it is sent SIGTERM or SIGINT;
- the command exits;
- a descendant called one of NAMES (comma-separated) has been seen and is gone: `ray start --block`
  does not notice servers that exit with code 0.

It exits with the command's code, or 128 + the signal that ended it. Standard library only: it must
start in an instant and never fail for want of memory.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

GRACE_S: Final = 2.0
"""From SIGTERM to SIGKILL."""
NICENESS: Final = 5
"""Consensus on the same machine goes first."""
CHECK_S: Final = 0.5
KILL_ROUNDS_MAX: Final = 100
_PR_SET_CHILD_SUBREAPER: Final = 36


def main(arguments: list[str]) -> int:
    """Exit code of `NAMES -- COMMAND...`; see the module."""
    names, dashes, *command = arguments
    if dashes != "--" or not command:
        print("usage: python -m compute.leash NAMES -- COMMAND...", file=sys.stderr)
        return 2
    os.nice(NICENESS)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    wake_reader, wake_writer = os.pipe()
    os.set_blocking(wake_writer, False)
    signal.set_wakeup_fd(wake_writer)
    received: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda found, _frame: received.append(found))
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    watched = frozenset(filter(None, names.split(",")))
    code = _hold(child, watched, wake_reader, received)
    _end_descendants(child)
    return code


def descendants_of(root: int) -> dict[int, str]:
    """Name by process id of everything below `root`, zombies left out."""
    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        # "pid (name) state parent ..."; a name may hold spaces and parentheses.
        head, _, tail = text.rpartition(")")
        state, parent = tail.split()[:2]
        if state != "Z":
            names[int(entry.name)] = head.partition("(")[2]
        parents[int(entry.name)] = int(parent)
    return {pid: name for pid, name in names.items() if _is_below(pid, root, parents)}


def _is_below(pid: int, root: int, parents: dict[int, int]) -> bool:
    for _ in range(len(parents)):
        pid = parents.get(pid, 0)
        if pid == root:
            return True
        if pid == 0:
            return False
    return False


def _hold(
    child: "subprocess.Popen[bytes]", watched: frozenset[str], wake: int, received: list[int]
) -> int:
    """Wait for the end; returns the exit code."""
    seen: frozenset[str] = frozenset()
    while True:
        ready, _, _ = select.select([0, wake], [], [], CHECK_S)
        if wake in ready:
            os.read(wake, 4096)
        if child.poll() is not None:
            return child.returncode if child.returncode >= 0 else 128 - child.returncode
        if 0 in ready and not os.read(0, 4096):
            return 0
        ended = [number for number in received if number != signal.SIGCHLD]
        if ended:
            return 128 + ended[0]
        if watched:
            present = watched & frozenset(descendants_of(os.getpid()).values())
            if seen - present:
                return 1
            seen |= present


def _end_descendants(child: "subprocess.Popen[bytes]") -> None:
    if child.poll() is None:
        child.terminate()
    gives_up_at = time.monotonic() + GRACE_S
    while time.monotonic() < gives_up_at:
        _reap(child)
        if not descendants_of(os.getpid()):
            return
        if child.poll() is not None:
            break
        time.sleep(0.05)
    for _ in range(KILL_ROUNDS_MAX):
        remaining = descendants_of(os.getpid())
        if not remaining:
            return
        for pid in remaining:
            _kill(pid)
        time.sleep(0.05)
        _reap(child)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _reap(child: "subprocess.Popen[bytes]") -> None:
    child.poll()
    for _ in range(KILL_ROUNDS_MAX):
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
