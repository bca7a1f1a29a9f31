"""Transfers through RPC batches on a testnet of four validators, as many as are asked of it.

Real processes on this machine, without Ray; the sender shares their cores. Every transfer is signed
before the clock starts. Each batch goes to one node and holds one transfer of each of a hundred
accounts, whose later ones follow through the same node. What counts as final is read afterwards
from the finalized blocks, by receipt. No peer of this kind runs from a package.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import trio

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.crypto.keystore import generate_key
from p2p_aios.errors import AiosError, invariant
from p2p_aios.ledger.accounts import fee_min
from p2p_aios.node.identity import load_genesis
from p2p_aios.params import Params
from p2p_aios.sdk import Client
from p2p_aios.types.genesis import chain_id
from p2p_aios.types.receipt import SUCCESS
from p2p_aios.types.transaction import TransactionBody, Transfer, sign_transaction
from p2p_aios.units import AIOS, Amount, Hash, Height
from testnet.bench.usage import node_pids, usage_of
from testnet.control import open_testnet
from testnet.creation import Wish, create
from testnet.inspection import compare_nodes
from testnet.layout import Layout, Plan, layout_at
from testnet.quantiles import median, quantile

NAME: Final = "tx"

NODES: Final = 4
SECONDS: Final = 20.0
WARM_UP_S: Final = 4.0
"""Until blocks are as full as they stay; not measured."""
OFFERED_PER_S: Final = 1_200
"""What all senders together try to send; the chain says what it takes."""
BATCH: Final = 100
BACKLOG_MAX: Final = 3_000
"""Sent and not yet final: beyond it the senders wait, as for a mempool that is full."""
POLL_S: Final = 0.02
ACCOUNTS_PER_NODE: Final = 500
BALANCE: Final = Amount(1_000 * AIOS)
AMOUNT: Final = Amount(1_000)
FEE_BYTES: Final = 512
"""More than a transfer takes; prices its fee."""

Measured = tuple[dict[str, float], dict[str, float]]


@dataclass(slots=True)
class Load:
    """What was sent and what came back."""

    sent: int = 0
    refused: int = 0
    final: int = 0
    """Transactions of the blocks heard of."""
    heights: list[Height] = field(default_factory=list)
    """Of blocks that became final while measuring."""
    intervals_ms: list[float] = field(default_factory=list)
    """Between the timestamps of consecutive ones."""
    is_measuring: bool = False
    cpu_s: float = 0.0
    """Of all nodes together while measuring."""
    rss_mb: float = 0.0
    """Of the largest node."""


def measure(seconds: float = SECONDS) -> Measured:
    """(figures, peers): over `seconds` of load, after a warm-up."""
    return trio.run(_measure, seconds)


async def _measure(seconds: float) -> Measured:
    senders = [generate_key() for _ in range(NODES * ACCOUNTS_PER_NODE)]
    funds = tuple((key.address, BALANCE) for key in senders)
    with tempfile.TemporaryDirectory(prefix="aios-bench-") as folder:
        layout = layout_at(Path(folder) / "net")
        wish = Wish(nodes=NODES, workers=0, preset="testnet", has_ray=False, funds=funds)
        plan = create(layout, wish)
        count = int(OFFERED_PER_S * (WARM_UP_S + seconds + 1))
        batches = sign_all(layout, senders, -(-count // (NODES * BATCH)))
        async with open_testnet(layout) as state:
            load = await _run(plan, batches, seconds, node_pids(plan, state))
            final, failed = await _count_receipts(plan, load.heights)
            forks = await compare_nodes(plan.nodes)
    figures = {
        "finalized_per_s": final / seconds,
        "block_interval_p50_ms": median(load.intervals_ms),
        "block_interval_p95_ms": quantile(load.intervals_ms, 0.95),
        "offered_per_s": float(OFFERED_PER_S),
        "node_cpu_ms_per_transfer": 1000 * load.cpu_s / (NODES * max(1, final)),
        "rss_mb": load.rss_mb,
        "refused": float(load.refused),
        "failed": float(failed),
        "forks": float(len(forks)),
    }
    return {name: round(value, 2) for name, value in figures.items() if value is not None}, {}


def sign_all(layout: Layout, senders: list[KeyPair], rounds: int) -> list[list[list[bytes]]]:
    """For each node its batches, in the order in which they must be sent."""
    genesis = load_genesis(layout.genesis_file)
    chain, params = chain_id(genesis), genesis.params
    return [list(_batches(chain, params, senders[node::NODES], rounds)) for node in range(NODES)]


def _batches(
    chain: Hash, params: Params, senders: list[KeyPair], count: int
) -> Iterator[list[bytes]]:
    invariant(len(senders) % BATCH == 0, "a batch holds one transfer of each sender")
    groups = [senders[low : low + BATCH] for low in range(0, len(senders), BATCH)]
    for number in range(count):
        nonce, group = divmod(number, len(groups))
        yield [
            _transfer(chain, params, key, nonce, groups[group][index - 1])
            for index, key in enumerate(groups[group])
        ]


def _transfer(chain: Hash, params: Params, key: KeyPair, nonce: int, to: KeyPair) -> bytes:
    body = TransactionBody(
        chain_id=chain,
        sender=key.public_key,
        nonce=nonce,
        fee=Amount(fee_min(params, FEE_BYTES)),
        expires=Height(params.transaction_lifetime_blocks),
        action=Transfer(to.address, AMOUNT),
    )
    return sign_transaction(key, body).raw


async def _run(
    plan: Plan, batches: list[list[list[bytes]]], seconds: float, pids: list[int]
) -> Load:
    load = Load()
    async with trio.open_nursery() as nursery:
        await nursery.start(_follow, plan.nodes[0].url, load)
        for index, node in enumerate(plan.nodes):
            nursery.start_soon(_send, node.url, batches[index], load, index / NODES)
        await trio.sleep(WARM_UP_S)
        load.is_measuring, before = True, usage_of(pids)
        await trio.sleep(seconds)
        load.is_measuring, after = False, usage_of(pids)
        load.cpu_s, load.rss_mb = after.cpu_s - before.cpu_s, after.rss_mb
        nursery.cancel_scope.cancel()
    return load


async def _send(url: str, batches: list[list[bytes]], load: Load, offset: float) -> None:
    """One node's batches at its share of the rate; `offset`: part of a gap by which to begin late,
    so that nodes are not all asked at once."""
    gap_s = BATCH * NODES / OFFERED_PER_S
    due_s = trio.current_time() + offset * gap_s
    async with Client(url) as client:
        for batch in batches:
            await trio.sleep_until(due_s)
            due_s = max(due_s + gap_s, trio.current_time() - gap_s)
            while load.sent - load.refused - load.final > BACKLOG_MAX:
                await trio.sleep(POLL_S)
            load.sent += len(batch)
            answers = await client.submit_all(batch)
            load.refused += sum(isinstance(answer, AiosError) for answer in answers)


async def _follow(url: str, load: Load, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    previous_ms: int | None = None
    async with Client(url) as client, client.subscribe_blocks() as blocks:
        task_status.started()
        async for summary in blocks:
            header = summary.header
            load.final += summary.transactions
            if load.is_measuring:
                load.heights.append(header.height)
                if previous_ms is not None:
                    load.intervals_ms.append(header.timestamp_ms - previous_ms)
            previous_ms = header.timestamp_ms


async def _count_receipts(plan: Plan, heights: list[Height]) -> tuple[int, int]:
    """Transactions that succeeded and that failed in these blocks."""
    codes: list[str] = []
    async with Client(plan.nodes[-1].url) as client:
        for height in heights:
            block = await client.block(height, has_outcome=True)
            invariant(block.outcome is not None, "the outcome was asked for")
            assert block.outcome is not None
            codes += [receipt.code for receipt in block.outcome.receipts]
    return codes.count(SUCCESS), len(codes) - codes.count(SUCCESS)
