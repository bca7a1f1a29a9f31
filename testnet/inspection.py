"""Fetching what `testnet.invariants` compares, from the nodes themselves."""

from collections.abc import Sequence
from typing import Final

import trio

from p2p_aios.errors import AiosError, Unavailable
from p2p_aios.sdk import Client
from p2p_aios.types.event import JobSettled, RewardPaid, RoundSettled, Transferred
from p2p_aios.types.genesis import Genesis
from p2p_aios.types.views import PAGE_MAX, AccountView, SupplyView
from p2p_aios.units import Address, Hash, Height
from testnet.invariants import Differences, check_same_blocks, check_supply
from testnet.layout import NodePlan

SNAPSHOT_ATTEMPTS_MAX: Final = 40
"""Tries to read the supply and all accounts between two blocks."""
READERS_MAX: Final = 8
"""Requests in flight at once."""


async def fetch_chain(client: Client, first: int = 1, last: int | None = None) -> dict[int, Hash]:
    """Hash of every finalized block from `first` to `last` (by default the tip)."""
    chain: dict[int, Hash] = {}
    height = first
    while last is None or height <= last:
        count = PAGE_MAX if last is None else min(PAGE_MAX, last - height + 1)
        page = await client.blocks(Height(height), count)
        chain |= {summary.header.height: summary.hash for summary in page}
        height += len(page)
        if len(page) < count:
            break
    return chain


async def compare_nodes(nodes: Sequence[NodePlan]) -> Differences:
    """What `check_same_blocks` says of everything these nodes finalized.

    A node that does not answer is left out; raises Unavailable(`node_unreachable`) if none does.
    """
    chains: dict[str, dict[int, Hash]] = {}
    for node in nodes:
        try:
            async with Client(node.url) as client:
                chains[node.name] = await fetch_chain(client)
        except Unavailable:
            continue
    if not chains:
        raise Unavailable("node_unreachable", "no node answers; is the testnet up?")
    return check_same_blocks(chains)


async def audit_supply(client: Client) -> tuple[SupplyView, Differences]:
    """The supply, and what `check_supply` says of it with every account that ever held anything.

    Reads every finalized block once, to learn the accounts. Raises Unavailable(`snapshot_torn`)
    where blocks come faster than the accounts can be read.
    """
    _, genesis = await client.chain()
    addresses = await _addresses(client, genesis)
    for _ in range(SNAPSHOT_ATTEMPTS_MAX):
        supply, accounts = await _snapshot(client, sorted(addresses))
        if {account.height for account in accounts} <= {supply.height}:
            return supply, check_supply(genesis, supply, accounts)
    raise Unavailable(
        "snapshot_torn", f"could not read {len(addresses)} accounts between two blocks; try again"
    )


async def _snapshot(
    client: Client, addresses: Sequence[Address]
) -> tuple[SupplyView, list[AccountView]]:
    accounts: list[AccountView] = []
    limiter = trio.CapacityLimiter(READERS_MAX)

    async def read(address: Address) -> None:
        async with limiter:
            accounts.append(await client.account(address))

    # Begin just after a block, to have the whole interval for the reads.
    supply = await client.supply()
    while (await client.supply()).height == supply.height:
        await trio.sleep(0.02)
    supply = await client.supply()
    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(read, address)
    return supply, accounts


async def _addresses(client: Client, genesis: Genesis) -> set[Address]:
    """Everybody whom genesis, a transfer, a reward, a round or a job ever paid."""
    found = {account.address for account in genesis.accounts}
    found |= {validator.owner for validator in genesis.validators}
    tip = (await client.status()).height
    limiter = trio.CapacityLimiter(READERS_MAX)

    async def read(height: int) -> None:
        async with limiter:
            found.update(await _recipients(client, height))

    async with trio.open_nursery() as nursery:
        for height in range(1, tip + 1):
            nursery.start_soon(read, height)
    return found


async def _recipients(client: Client, height: int) -> set[Address]:
    block = await client.block(Height(height), has_outcome=True)
    if block.outcome is None:
        return set()
    events = [event for receipt in block.outcome.receipts for event in receipt.events]
    found: set[Address] = set()
    for event in (*events, *block.outcome.events):
        match event:
            case Transferred(recipient=recipient) | RewardPaid(recipient=recipient):
                found.add(recipient)
            case RoundSettled(contributors=contributors):
                found.update(contributors)
            case JobSettled(worker=worker):
                found.add(worker)
            case _:
                pass
    return found


async def wait_height(client: Client, height: int, limit_s: float) -> int:
    """The node's height once it is at least `height`; raises Unavailable(`testnet_slow`)."""
    reached = -1
    with trio.move_on_after(limit_s):
        while True:
            try:
                reached = (await client.status()).height
            except AiosError:
                reached = -1
            if reached >= height:
                return reached
            await trio.sleep(0.1)
    raise Unavailable("testnet_slow", f"height {reached} after {limit_s:.0f} s, not {height}")
