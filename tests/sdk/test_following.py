"""Subscribers outlive their node: each block, event and receipt once, in order, none left out."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from p2p_aios.codec import schema
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import Unavailable
from p2p_aios.rpc.config import RpcConfig, RpcLimits
from p2p_aios.rpc.projection import summarize
from p2p_aios.rpc.server import serve_rpc
from p2p_aios.sdk import Client, Notifications, sign_action, subscription
from p2p_aios.sdk.subscription import Topic, _Progress, _Reader
from p2p_aios.types.transaction import Transfer
from p2p_aios.types.views import BlockSummaries, BlockSummary
from p2p_aios.units import Amount, Height
from tests.rpc.memory_backend import ALICE, BOB, GENESIS, MemoryBackend
from tests.rpc.serving import DEFAULT
from tests.sdk.test_client import TASK, signed

Subscribe = Callable[[Client], AbstractAsyncContextManager[Notifications[Any]]]
SEEN_S_MAX = 10


class Stoppable:
    """A node that can be stopped while others run."""

    def __init__(self, config: RpcConfig) -> None:
        self.backend = MemoryBackend()
        self._config = config
        self._scope = trio.CancelScope()
        self._is_down = trio.Event()

    async def serve(self, task_status: Any) -> None:
        with self._scope:
            feed = self.backend.feed
            await serve_rpc(self.backend, feed, self._config, task_status=task_status)
        self._is_down.set()

    async def stop(self) -> None:
        self._scope.cancel()
        await self._is_down.wait()


@asynccontextmanager
async def running(
    count: int, config: RpcConfig = DEFAULT
) -> AsyncIterator[tuple[list[Stoppable], list[str]]]:
    """Nodes and their addresses."""
    nodes = [Stoppable(config) for _ in range(count)]
    async with trio.open_nursery() as nursery:
        yield nodes, [await nursery.start(node.serve) for node in nodes]
        nursery.cancel_scope.cancel()


class Twins:
    """Two nodes of one chain, of which the first can be stopped."""

    def __init__(self, first: Stoppable, second: Stoppable, urls: list[str]) -> None:
        self.first = first.backend
        self.second = second.backend
        self.stop_first = first.stop
        self.urls = urls
        self.nonce = 0

    async def extend(self, transfers: int = 0, *, lagging: bool = False) -> None:
        """One block on both nodes; the second may get it later, by `catch_up`."""
        for _ in range(transfers):
            raw = sign_action(
                ALICE,
                self.first.chain_id,
                GENESIS.params,
                Transfer(BOB.address, Amount(1 + self.nonce)),
                nonce=self.nonce,
                expires=Height(1000),
            ).raw
            self.nonce += 1
            await self.first.submit(raw)
            await self.second.submit(raw)
        self.first.finalize()
        if not lagging:
            self.second.finalize()


@asynccontextmanager
async def twins(config: RpcConfig = DEFAULT) -> AsyncIterator[Twins]:
    async with running(2, config) as (nodes, urls):
        yield Twins(*nodes, urls)


async def take(notices: Notifications[Any], count: int) -> list[Any]:
    with trio.fail_after(SEEN_S_MAX):
        return [await anext(notices) for _ in range(count)]


async def test_blocks_go_on_at_the_next_node() -> None:
    async with twins() as nodes, Client(nodes.urls) as client:
        await nodes.extend()
        async with client.subscribe_blocks() as blocks:
            await nodes.extend()
            await nodes.extend()
            heights = [each.header.height for each in await take(blocks, 2)]
            await nodes.stop_first()
            for _ in range(250):
                # While nobody is followed; more than a page of `block.range`.
                nodes.first.finalize()
                nodes.second.finalize()
            seen = await take(blocks, 250)
            await nodes.extend()
            heights += [each.header.height for each in (*seen, *await take(blocks, 1))]
            assert heights == list(range(2, 255))
            hashes = [each.hash for each in seen]
            assert [each.header.parent for each in seen[1:]] == hashes[:-1]


def all_events(client: Client) -> AbstractAsyncContextManager[Notifications[Any]]:
    return client.subscribe_events(["Transferred"], format_address(BOB.address))


def all_receipts(client: Client) -> AbstractAsyncContextManager[Notifications[Any]]:
    return client.subscribe_receipts(format_address(ALICE.address))


@pytest.mark.parametrize("subscribe", [all_events, all_receipts])
async def test_events_and_receipts_go_on_at_the_next_node(subscribe: Subscribe) -> None:
    async with twins() as nodes, Client(nodes.urls) as client:
        async with subscribe(client) as notices:
            await nodes.extend(3)
            seen = await take(notices, 3)
            await nodes.extend(2)
            seen += await take(notices, 1)
            # In the middle of a block; the next has no transaction.
            await nodes.stop_first()
            await nodes.extend(0)
            await nodes.extend(2)
            seen += await take(notices, 3)
            await nodes.extend(1)
            seen += await take(notices, 1)
        async with Client(nodes.urls[1]) as other:
            expected = [
                (height, id)
                for height in range(1, 6)
                for id in (await other.block(Height(height))).transaction_ids
            ]
        assert [(each.height, transaction_of(each)) for each in seen] == expected
        assert len(expected) == 8


def transaction_of(notice: Any) -> bytes:
    found = notice.receipt.transaction if hasattr(notice, "receipt") else notice.transaction
    return bytes(found)


async def test_a_node_that_lags_tells_nothing_twice() -> None:
    async with (
        twins() as nodes,
        Client(nodes.urls) as client,
        client.subscribe_blocks() as blocks,
    ):
        for _ in range(3):
            await nodes.extend(lagging=True)
        await take(blocks, 3)
        await nodes.stop_first()
        await trio.sleep(0.2)
        for _ in range(5):
            nodes.second.finalize()
        assert [each.header.height for each in await take(blocks, 2)] == [4, 5]


async def test_catching_up_keeps_to_the_nodes_rate() -> None:
    limits = RpcLimits(calls_per_s=50, calls_burst=3, limits_loopback=True)
    async with (
        twins(RpcConfig(port=0, limits=limits)) as nodes,
        Client(nodes.urls) as client,
        all_receipts(client) as receipts,
    ):
        await nodes.stop_first()
        for _ in range(12):
            await nodes.extend(1)
        seen = await take(receipts, 12)
        assert [each.height for each in seen] == list(range(1, 13))


async def test_a_gap_too_large_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "GAP_BLOCKS_MAX", 10)
    async with (
        twins() as nodes,
        Client(nodes.urls) as client,
        client.subscribe_blocks() as blocks,
    ):
        for _ in range(11):
            nodes.second.finalize()
        await nodes.stop_first()
        with pytest.raises(Unavailable, match="11 blocks") as caught:
            await take(blocks, 1)
        assert caught.value.code == "subscription_gap"
        with pytest.raises(Unavailable):
            await anext(blocks)


@pytest.mark.parametrize("subscribe", [all_events, all_receipts])
async def test_who_waits_for_something_rare_has_little_to_make_up_for(
    subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subscription, "GAP_BLOCKS_MAX", 10)
    monkeypatch.setattr(subscription, "QUIET_S_MAX", 0.02)
    passed = trio.Event()
    pass_over = _Progress.pass_over

    def noted(progress: _Progress, height: Height) -> None:
        pass_over(progress, height)
        if height == 20:
            passed.set()

    monkeypatch.setattr(_Progress, "pass_over", noted)
    async with twins() as nodes, Client(nodes.urls) as client, subscribe(client) as notices:

        async def live() -> None:
            for _ in range(20):
                await nodes.extend()
            with trio.fail_after(SEEN_S_MAX):
                await passed.wait()
            await nodes.extend(transfers=1)
            await nodes.stop_first()
            await nodes.extend(transfers=2)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(live)
            assert [each.height for each in await take(notices, 3)] == [21, 22, 22]


async def test_rounds_end_with_their_node() -> None:
    async with twins() as nodes, Client(nodes.urls) as client:
        await nodes.first.submit(await signed(nodes.first, TASK, 0))
        async with client.subscribe_rounds() as rounds:
            await nodes.stop_first()
            with pytest.raises(Unavailable) as caught:
                await take(rounds, 1)
            assert caught.value.code == "subscription_lost"


async def test_the_last_node_gone_ends_it() -> None:
    async with (
        running(1) as ((node,), urls),
        Client(urls) as client,
        client.subscribe_blocks() as blocks,
    ):
        node.backend.finalize()
        await take(blocks, 1)
        await node.stop()
        with pytest.raises(Unavailable) as caught:
            await take(blocks, 1)
        assert caught.value.code == "node_unreachable"


async def test_following_leaves_the_programs_own_tasks_alone() -> None:
    # A node changes behind a nursery that the program opened after subscribing.
    async with (
        twins() as nodes,
        Client(nodes.urls) as client,
        client.subscribe_blocks() as blocks,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(trio.sleep_forever)
        await nodes.stop_first()
        nodes.second.finalize()
        assert (await take(blocks, 1))[0].header.height == 1
        nursery.cancel_scope.cancel()


async def test_what_is_told_while_catching_up_is_not_told_again() -> None:
    """Blocks 2 and 3 become final between the node's subscription and its status."""
    backend = MemoryBackend()
    summaries = [summarize(backend.finalize().block) for _ in range(4)]

    class Scripted:
        def __init__(self) -> None:
            self.told = summaries[1:]

        async def call(self, method: str, params: dict[str, Any]) -> Any:
            assert method == "block.range"
            return schema.to_json(tuple(summaries[params["first"] - 1 : 3]), BlockSummaries)

        async def next_notice(self) -> Any:
            return schema.to_json(self.told.pop(0))

    async def past(_: Any, summary: BlockSummary) -> Sequence[BlockSummary]:
        return (summary,)

    topic = Topic({}, BlockSummary, lambda notice: notice.header.height, past)
    progress = _Progress(Height(0))
    socket: Any = Scripted()
    reader = _Reader(socket, topic, progress, Height(3))
    seen = [notice for _ in range(6) for notice in await reader.next_batch()]
    assert seen == summaries
    assert socket.told == []


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=8),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 8)), max_size=6),
)
def test_each_notice_once_wherever_connections_break(
    blocks: Sequence[int], breaks: Sequence[tuple[int, int]]
) -> None:
    """`blocks[h - 1]` notices at height h; each break: after how many told, at a node's which tip.

    A reader makes up for what it missed up to the tip, then hears of what is beyond.
    """
    notices = [(h, n) for h, count in enumerate(blocks, 1) for n in range(count)]
    progress, seen = _Progress(Height(0)), []
    for told, tip in (*breaks, (len(notices), len(blocks))):
        first = progress.resume()
        missed = [each for each in notices if first <= each[0] <= tip]
        live = [each for each in notices if each[0] > tip]
        for each in missed[:told]:
            seen += [each] if progress.take(Height(each[0])) else []
        if told < len(missed):
            continue
        if first <= tip:
            progress.complete(Height(min(tip, len(blocks))))
        # A node may tell again of the block it stood at.
        again = [each for each in notices if each[0] == tip]
        for each in (*again, *live)[: told - len(missed)]:
            seen += [each] if progress.take(Height(each[0])) else []
    assert seen == notices
