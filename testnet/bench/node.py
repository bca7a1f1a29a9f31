"""What an idle testnet of four validators costs: processor and memory.

Real processes on this machine, without Ray, empty blocks twice a second. The processor's share is
that of all nodes together, of one core; the supervisor's, which no real node has, is apart. Memory
is the largest node's. No peer of this kind runs from a package.
"""

import tempfile
from pathlib import Path
from typing import Final

import trio

from p2p_aios.sdk import Client
from testnet.bench.usage import node_pids, usage_of
from testnet.control import open_testnet
from testnet.creation import Wish, create
from testnet.layout import Plan, layout_at
from testnet.state import EnsembleState

NAME: Final = "node"

NODES: Final = 4
SECONDS: Final = 600.0
WARM_UP_S: Final = 10.0
"""Imports, dialling and the first blocks; not measured."""

Measured = tuple[dict[str, float], dict[str, float]]


def measure(seconds: float = SECONDS) -> Measured:
    """(figures, peers): over `seconds` without any transaction."""
    return trio.run(_measure, seconds)


async def _measure(seconds: float) -> Measured:
    with tempfile.TemporaryDirectory(prefix="aios-bench-") as folder:
        layout = layout_at(Path(folder) / "net")
        plan = create(layout, Wish(nodes=NODES, workers=0, preset="testnet", has_ray=False))
        async with open_testnet(layout) as state:
            return await _watch(plan, state, seconds), {}


async def _watch(plan: Plan, state: EnsembleState, seconds: float) -> dict[str, float]:
    nodes, supervisor = node_pids(plan, state), [state.supervisor.pid]
    await trio.sleep(WARM_UP_S)
    begun_s, height = trio.current_time(), await _height(plan)
    before, watched_before = usage_of(nodes), usage_of(supervisor)
    await trio.sleep(seconds)
    after, watched_after = usage_of(nodes), usage_of(supervisor)
    took_s = trio.current_time() - begun_s
    figures = {
        "idle_cpu_percent": 100 * (after.cpu_s - before.cpu_s) / took_s,
        "supervisor_cpu_percent": 100 * (watched_after.cpu_s - watched_before.cpu_s) / took_s,
        "rss_mb": after.rss_mb,
        "rss_growth_mb": after.rss_mb - before.rss_mb,
        "blocks_per_s": (await _height(plan) - height) / took_s,
    }
    return {name: round(value, 2) for name, value in figures.items()}


async def _height(plan: Plan) -> int:
    async with Client(plan.nodes[0].url) as client:
        return (await client.status()).height
