"""Feeding the demo's progress from one node: every finalized block with its events, no gaps."""

from collections.abc import Callable, Iterator
from typing import Final

import trio

from p2p_aios.errors import AiosError
from p2p_aios.sdk import Client
from p2p_aios.types.views import BlockView, EventNotice
from p2p_aios.units import Height
from testnet.demo.progress import Progress

RETRY_S: Final = 0.5


async def follow(
    client: Client, progress: Progress, on_change: Callable[[], None], is_following: trio.Event
) -> None:
    """Until cancelled, from the node's present tip on; reads what it missed while away."""
    following = (await client.status()).height + 1
    while True:
        try:
            async with client.subscribe_blocks() as summaries:
                is_following.set()
                async for summary in summaries:
                    arrived_s = trio.current_time()
                    for height in range(following, summary.header.height + 1):
                        block = await client.block(Height(height), has_outcome=True)
                        _take(progress, block, arrived_s)
                        following = height + 1
                    on_change()
        except AiosError:
            progress.last_arrival_s = None  # the gap that follows is ours, not the chain's
            await trio.sleep(RETRY_S)


def events_of(block: BlockView) -> Iterator[EventNotice]:
    """Of its transactions in order, then those of the block itself."""
    if block.outcome is None:
        return
    header = block.header
    for receipt in block.outcome.receipts:
        for event in receipt.events:
            yield EventNotice(
                header.height, block.hash, header.timestamp_ms, receipt.transaction, event
            )
    for event in block.outcome.events:
        yield EventNotice(header.height, block.hash, header.timestamp_ms, None, event)


def _take(progress: Progress, block: BlockView, arrived_s: float) -> None:
    progress.on_block(block.header, arrived_s)
    for notice in events_of(block):
        progress.on_event(notice)
