"""The machine a figure was measured on: without it the figure says nothing."""

import os
import platform
import time
from importlib import metadata
from pathlib import Path
from typing import Any, Final

LOOPS: Final = 1_000_000
"""Turns of the loop that tells how fast the interpreter runs just now."""


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, load and versions; the unit is the key's suffix.

    `loop_ms` is the time of a loop that is always the same. Neighbours on a rented machine slow its
    cores, which neither load nor stolen time shows: figures compare where the loop took as long.
    """
    return {
        "cpu": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "loop_ms": _loop_ms(),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "aios": metadata.version("p2p-aios"),
    }


def _loop_ms() -> float:
    begun, total = time.perf_counter(), 0
    for number in range(LOOPS):
        total += number
    return round(1000 * (time.perf_counter() - begun), 1)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
