"""A node's RPC: requests for accounts, one by one and in batches, and the price of subscribers.

One validator in a process of its own makes two empty blocks a second; the clients, which are as
cheap as can be, share its machine. `subscribers_cpu_percent` is what two hundred WebSockets that
follow blocks add to the node, of one core. Requests go through many accounts, so that none is
answered from what was just asked. No peer of this kind runs from a package.
"""

import json
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from itertools import cycle
from pathlib import Path
from typing import Final

import trio

from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import invariant
from p2p_aios.units import AIOS, Address, Amount
from testnet.bench.rawclient import RawConnection
from testnet.bench.usage import node_pids, usage_of
from testnet.control import open_testnet
from testnet.creation import Wish, create
from testnet.layout import layout_at
from testnet.quantiles import median, quantile

NAME: Final = "rpc"

SECONDS: Final = 10.0
"""Of each of the parts."""
WARM_UP_S: Final = 5.0
CLIENTS: Final = 8
"""Connections that ask at the same time."""
BATCH: Final = 100
ACCOUNTS: Final = 4_000
"""Asked for in turn."""
SUBSCRIBERS: Final = 200
SUBSCRIBE: Final = '{"jsonrpc":"2.0","id":1,"method":"subscribe","params":{"topic":"blocks"}}'

Measured = tuple[dict[str, float], dict[str, float]]


def measure(seconds: float = SECONDS) -> Measured:
    """(figures, peers): single requests, batches, a quiet stretch and one with subscribers."""
    return trio.run(_measure, seconds)


async def _measure(seconds: float) -> Measured:
    with tempfile.TemporaryDirectory(prefix="aios-bench-") as folder:
        layout = layout_at(Path(folder) / "net")
        accounts = [Address(secrets.token_bytes(20)) for _ in range(ACCOUNTS)]
        funds = tuple((account, Amount(AIOS)) for account in accounts)
        wish = Wish(nodes=1, workers=0, preset="testnet", has_ray=False, funds=funds)
        plan = create(layout, wish)
        async with open_testnet(layout) as state:
            await trio.sleep(WARM_UP_S)
            port, pid = plan.nodes[0].rpc_port, node_pids(plan, state)[0]
            single = await _ask(port, _messages(accounts, 1), seconds)
            batched = await _ask(port, _messages(accounts, BATCH), seconds)
            idle = await _cpu_percent(pid, seconds)
            followed, received = await _follow(port, pid, seconds)
    figures = {
        "requests_per_s": len(single) / seconds,
        "p50_ms": median(single),
        "p99_ms": quantile(single, 0.99),
        "batched_requests_per_s": BATCH * len(batched) / seconds,
        "batched_p99_ms": quantile(batched, 0.99),
        "idle_cpu_percent": idle,
        "subscribers_cpu_percent": followed - idle,
        "received_kb_per_s": received / 1000 / seconds,
    }
    return {name: round(value, 2) for name, value in figures.items() if value is not None}, {}


def _messages(accounts: list[Address], calls: int) -> list[bytes]:
    """That ask for each account once, so many at a time."""
    asked = [_call(account) for account in accounts]
    batches = [asked[start : start + calls] for start in range(0, len(asked), calls)]
    return [json.dumps(batch if calls > 1 else batch[0]).encode() for batch in batches]


def _call(account: Address) -> dict[str, object]:
    params = {"address": format_address(account)}
    return {"jsonrpc": "2.0", "id": 1, "method": "account.get", "params": params}


async def _ask(port: int, messages: list[bytes], seconds: float) -> list[float]:
    """Milliseconds each message took, of all clients together."""
    took_ms: list[float] = []
    bodies = cycle(messages)

    async def ask() -> None:
        async with RawConnection(port) as connection:
            while True:
                request = connection.request(next(bodies))
                begun_s = trio.current_time()
                answer = await connection.ask(request)
                took_ms.append(1000 * (trio.current_time() - begun_s))
                invariant(b'"error"' not in answer, "the node answers every call")

    await _together([ask] * CLIENTS, seconds)
    return took_ms


async def _follow(port: int, pid: int, seconds: float) -> tuple[float, int]:
    """Percent of a core the node uses with all subscribers, and bytes they received."""
    received = 0

    async def drain(connection: RawConnection) -> None:
        nonlocal received
        count = await connection.drain(seconds)
        received += count

    async with AsyncExitStack() as opened, trio.open_nursery() as nursery:
        for _ in range(SUBSCRIBERS):
            connection = await opened.enter_async_context(RawConnection(port))
            await connection.follow(SUBSCRIBE)
            nursery.start_soon(drain, connection)
        percent = await _cpu_percent(pid, seconds)
    return percent, received


async def _cpu_percent(pid: int, seconds: float) -> float:
    before_s, begun_s = usage_of([pid]).cpu_s, trio.current_time()
    await trio.sleep(seconds)
    return 100 * (usage_of([pid]).cpu_s - before_s) / (trio.current_time() - begun_s)


async def _together(tasks: list[Callable[[], Awaitable[None]]], seconds: float) -> None:
    with trio.move_on_after(seconds):
        async with trio.open_nursery() as nursery:
            for task in tasks:
                nursery.start_soon(task)
