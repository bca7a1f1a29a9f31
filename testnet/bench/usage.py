"""What processes cost, as Linux counts it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2p_aios.errors import invariant
from testnet.layout import Plan
from testnet.state import EnsembleState

_PROC: Final = Path("/proc")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """Of some processes together, since they began."""

    cpu_s: float
    rss_mb: float
    """Of the largest."""


def usage_of(pids: Sequence[int]) -> Usage:
    """Raises FileNotFoundError where one of them is gone."""
    cpu_s = sum(_cpu_s(pid) for pid in pids)
    return Usage(cpu_s, max((_rss_mb(pid) for pid in pids), default=0.0))


def node_pids(plan: Plan, state: EnsembleState) -> list[int]:
    """The testnet's nodes, which must be running."""
    pids = []
    for node in plan.nodes:
        service = state.service(node.name)
        process = None if service is None else service.process
        invariant(process is not None, f"{node.name} runs")
        assert process is not None
        pids.append(process.pid)
    return pids


def _cpu_s(pid: int) -> float:
    # The command's name may hold spaces and parentheses; what counts follows the last one.
    fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    user_ticks, system_ticks = fields[11:13]
    return (int(user_ticks) + int(system_ticks)) / _TICKS_PER_S


def _rss_mb(pid: int) -> float:
    lines = (_PROC / str(pid) / "status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:"))
