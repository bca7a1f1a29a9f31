"""A testnet of real processes that stands for a whole test file: starting one takes seconds."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import trio

from p2p_aios.sdk import Client
from p2p_aios.types.views import AccountView
from p2p_aios.units import Address, Height
from testnet.control import PROGRAM, start_supervisor, take_down, wait_ready
from testnet.creation import Wish, create
from testnet.inspection import compare_nodes, fetch_chain, wait_height
from testnet.invariants import check_nothing_lost
from testnet.layout import Layout, Plan, layout_at
from testnet.processes import find_processes
from testnet.state import read_state

CHAIN_S_MAX = 40.0
GAP_MS_MAX = 2_500
"""Longest distance of two blocks that still counts as undisturbed: two time-outs."""


@dataclass(frozen=True)
class Standing:
    """A testnet that runs, and what its chain was when the test began."""

    layout: Layout
    plan: Plan

    def client(self, node: int = 0) -> Client:
        return Client(self.plan.nodes[node].url)

    def restarts(self) -> dict[str, int]:
        """How often each of its processes was started again."""
        state = read_state(self.layout)
        assert state is not None
        return {service.name: service.restarts for service in state.services}

    async def accounts(self, *addresses: Address, node: int = 0) -> list[AccountView]:
        async with self.client(node) as client:
            return [await client.account(address) for address in addresses]

    async def height(self) -> int:
        async with self.client() as client:
            return int((await client.status()).height)


@contextmanager
def standing_testnet(
    root: Path, wish: Wish, program: Sequence[str] = PROGRAM
) -> Iterator[Standing]:
    """Up and ready; down, with nothing left, at the end."""
    layout = layout_at(root)
    plan = create(layout, wish)
    reader, leash = os.pipe()
    supervisor: subprocess.Popen[bytes] | None = None
    try:
        supervisor = start_supervisor(layout, reader, program)
        os.close(reader)
        trio.run(wait_ready, layout, supervisor)
        yield Standing(layout, plan)
    finally:
        os.close(leash)
        trio.run(take_down, layout)
        if supervisor is not None:
            supervisor.wait(30)
    assert find_processes(plan.id) == ()


class Watch:
    """The chain while something hostile goes on: nothing that was final may change, blocks keep
    coming everywhere, and no process may end."""

    def __init__(self, standing: Standing) -> None:
        self._standing = standing
        self._restarts = standing.restarts()
        self._before: dict[int, bytes] = {}

    async def __aenter__(self) -> "Watch":
        async with self._standing.client() as client:
            self._before = dict(await fetch_chain(client))
        return self

    async def __aexit__(self, kind: object, *_: object) -> None:
        if kind is None:
            await self._check()

    async def _check(self) -> None:
        nodes = self._standing.plan.nodes
        first = max(self._before)
        async with self._standing.client() as client:
            height = int((await client.status()).height) + 4
            for number in range(len(nodes)):
                async with self._standing.client(number) as each:
                    await wait_height(each, height, limit_s=CHAIN_S_MAX)
            after = await fetch_chain(client)
            gap_ms = await longest_gap_ms(client, first)
        assert check_nothing_lost(self._before, after) == ()  # type: ignore[arg-type]
        assert await compare_nodes(nodes) == ()
        assert gap_ms <= GAP_MS_MAX, "blocks stood still"
        assert self._standing.restarts() == self._restarts, "a process ended"


async def longest_gap_ms(client: Client, first: int) -> int:
    """Between two consecutive blocks from height `first` on; of the first hundred."""
    blocks = await client.blocks(Height(first))
    times = [block.header.timestamp_ms for block in blocks]
    return max(later - earlier for earlier, later in pairwise(times))
