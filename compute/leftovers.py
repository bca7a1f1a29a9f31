"""End what an earlier run left behind: processes marked as belonging to one folder of ours.

Every process of a `ray start` inherits an environment variable that names its folder, so leftovers
are told apart from any other cluster on the machine.
"""

import os
import signal
import time
from pathlib import Path
from typing import Final

from compute.environment import TEMPORARY_FOLDER

ATTEMPTS_MAX: Final = 40
_PAUSE_S: Final = 0.1


def end_leftovers(folder: Path) -> int:
    """SIGKILL every process marked with `folder`; how many there were. Blocks up to 4 s."""
    found: set[int] = set()
    for _ in range(ATTEMPTS_MAX):
        marked = processes_of(folder)
        if not marked:
            break
        found |= marked
        for pid in marked:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        time.sleep(_PAUSE_S)
    return len(found)


def processes_of(folder: Path) -> set[int]:
    """Ids of our user's processes marked with `folder`, zombies and this process left out."""
    mark = f"{TEMPORARY_FOLDER}={folder}".encode()
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                found.add(int(entry.name))
        except OSError:
            continue
    return found
