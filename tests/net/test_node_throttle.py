"""A node whose machine is too slow for its transactions: its blocks shrink, and grow again."""

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_aios.errors import AiosError
from p2p_aios.node.chain import Chain
from p2p_aios.node.throttle import work_ms_max
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import Amount
from tests.net.node_cluster import QUICK, Cluster, Member, open_cluster
from tests.node.founders import key

SLOW_MS = 1.5
"""What a transaction takes while the machine is slow."""
SENDERS = tuple(key(f"sender {number}") for number in range(8))


async def keep_full(cluster: Cluster, member: Member) -> None:
    """As many transactions as each sender may have waiting, until cancelled."""
    chain, pool = member.parts.chain, member.parts.transactions
    pay = Transfer(SENDERS[0].address, Amount(1))
    for nonce in count():
        for sender in SENDERS:
            transaction = cluster.founders.transaction(chain, sender, pay, nonce=nonce)
            while True:
                try:
                    await pool.submit(transaction.raw)
                    break
                except AiosError:  # so many wait already
                    await trio.sleep(0.05)


@pytest.mark.slow
async def test_blocks_that_take_too_long_to_build_do_not_stop_the_chain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_ms, build = SLOW_MS, Chain.build

    async def build_slowly(chain: Chain, footing: Any, slot: Any, waiting: Any) -> Any:
        await trio.sleep(len(waiting) * slow_ms / 1000)
        return await build(chain, footing, slot, waiting)

    monkeypatch.setattr(Chain, "build", build_slowly)
    sizes, fitting = [0], work_ms_max(QUICK.delta_ms) / SLOW_MS
    async with (
        open_cluster(tmp_path, count=1, rich=SENDERS) as cluster,
        trio.open_nursery() as nursery,
    ):
        member = await cluster.start_validator(0)
        heard = member.parts.finality.listen
        heard(lambda final, _: sizes.extend(len(block.transactions) for block in final))
        nursery.start_soon(keep_full, cluster, member)
        await cluster.until(lambda: 0.5 * fitting < sizes[-1] < 1.2 * fitting)
        assert len(member.parts.transactions.mempool) > 2 * fitting, "more waits than one takes"
        slow_ms = 0.0
        await cluster.until(lambda: sizes[-1] > 2 * fitting)
        nursery.cancel_scope.cancel()
