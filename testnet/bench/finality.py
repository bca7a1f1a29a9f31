"""Block interval and submit-to-finalized time of a testnet of four validators, at 20 transfers/s.

Real processes on this machine, without Ray. Finality is the client's: from before a transaction is
signed until the event of its finalized block arrives. No peer of this kind runs from a package.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Final

import trio

from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.sdk import Client
from testnet.control import open_testnet
from testnet.creation import Wish, create
from testnet.demo.follow import follow
from testnet.demo.progress import Progress
from testnet.inspection import compare_nodes
from testnet.layout import WALLETS, Layout, Plan, layout_at
from testnet.quantiles import median, quantile
from testnet.traffic import Traffic, Wallet

NAME: Final = "finality"

NODES: Final = 4
TRANSFERS_PER_S: Final = 20.0
SECONDS: Final = 60.0
WARM_UP_S: Final = 5.0
"""Connections and caches settle; not measured."""
DRAIN_S_MAX: Final = 5.0

Measured = tuple[dict[str, float], dict[str, float]]


def measure(seconds: float = SECONDS) -> Measured:
    """(figures, peers): medians and tails over `seconds` of steady traffic."""
    return trio.run(_measure, seconds)


async def _measure(seconds: float) -> Measured:
    with tempfile.TemporaryDirectory(prefix="aios-bench-") as folder:
        layout = layout_at(Path(folder) / "net")
        plan = create(layout, Wish(nodes=NODES, workers=0, preset="testnet", has_ray=False))
        begun_s = trio.current_time()
        async with open_testnet(layout):
            setup_s = trio.current_time() - begun_s
            progress, traffic = await _run(layout, plan, seconds)
            forks = await compare_nodes(plan.nodes)
    figures = {
        "block_interval_p50_ms": median(progress.intervals_ms),
        "block_interval_p95_ms": quantile(progress.intervals_ms, 0.95),
        "block_arrival_p50_ms": median(progress.arrivals_ms),
        "finality_p50_ms": median(progress.finality_ms),
        "finality_p99_ms": quantile(progress.finality_ms, 0.99),
        "transfers_per_s": len(progress.finality_ms) / seconds,
        "refused": float(traffic.refused),
        "forks": float(len(forks)),
        "setup_s": setup_s,
    }
    return {name: round(value, 2) for name, value in figures.items() if value is not None}, {}


async def _run(layout: Layout, plan: Plan, seconds: float) -> tuple[Progress, Traffic]:
    progress = Progress()
    traffic = Traffic(lambda took_s: progress.on_final(took_s))
    async with Client(plan.nodes[0].url) as client, trio.open_nursery() as nursery:
        async with trio.open_nursery() as sending:
            sending.start_soon(traffic.run, _wallets(layout, plan), TRANSFERS_PER_S)
            await trio.sleep(WARM_UP_S)
            progress.finality_ms.clear()
            following = partial(follow, client, progress, lambda: None)
            nursery.start_soon(following, trio.Event())
            await trio.sleep(seconds)
            sending.cancel_scope.cancel()
        await traffic.drain(DRAIN_S_MAX)
        nursery.cancel_scope.cancel()
    return progress, traffic


def _wallets(layout: Layout, plan: Plan) -> list[Wallet]:
    keys = [load_keystore(layout.wallet(name), None) for name in WALLETS]
    return [
        Wallet(key, plan.nodes[1 + number].url, keys[(number + 1) % len(keys)].address)
        for number, key in enumerate(keys)
    ]
