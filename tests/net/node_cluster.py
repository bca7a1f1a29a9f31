"""Nodes of one chain in this process: real disks, keys and sockets, one Trio run.

Each is started in a scope of its own, so a test can stop and restart any of them.
"""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.ledger.queries import read_account
from p2p_aios.node.config import LogSection, NetworkSection, NodeConfig, NodeSection, RpcSection
from p2p_aios.node.identity import Identity
from p2p_aios.node.run import Serving, serve_node
from p2p_aios.params import Params
from p2p_aios.types.transaction import Action
from p2p_aios.units import Address, Hash
from tests.node.founders import ALICE, BOB, PARAMS, Founders, key

QUICK = replace(PARAMS, epoch_blocks=40, beacon_chain_length=4096)


class Member:
    """One node of a cluster, running or not."""

    def __init__(self, name: str, folder: Path, identity: Identity) -> None:
        self.name = name
        self.folder = folder
        self.identity = identity
        self.serving: Serving | None = None
        self.scope = trio.CancelScope()
        self.ended = trio.Event()

    @property
    def parts(self) -> Any:
        assert self.serving is not None, f"{self.name} does not run"
        return self.serving.parts

    @property
    def height(self) -> int:
        return int(self.parts.chain.tip.height)

    def balance(self, address: Address) -> int:
        with self.parts.chain.state() as state:
            return read_account(state, address).balance


@dataclass
class Cluster:
    """Nodes that know each other's addresses."""

    founders: Founders
    folder: Path
    nursery: trio.Nursery
    members: list[Member]

    @property
    def height(self) -> int:
        """Of the node that is furthest."""
        return max(member.height for member in self.members if member.serving is not None)

    async def start_validator(self, seat: int) -> Member:
        identity = Identity(self.founders.peer(seat), self.founders.validators[seat])
        return await self.start(f"validator-{seat}", identity)

    async def start_observer(self, name: str = "observer") -> Member:
        return await self.start(name, Identity(key(name), None))

    async def start(self, name: str, identity: Identity) -> Member:
        """A new member, or the same again after `stop`."""
        folder = self.folder / name
        member = Member(name, folder, identity)
        peers = tuple(m.parts.network.addresses[0] for m in self.members if m.serving is not None)
        config = NodeConfig(
            NodeSection(folder, folder, folder),
            NetworkSection("/ip4/127.0.0.1/tcp/0", peers),
            RpcSection("127.0.0.1:0"),
            log=LogSection("WARNING"),
        )
        serve = partial(_serve, member, config, self.founders)
        member.serving = await self.nursery.start(serve)
        self.members = [m for m in self.members if m.name != name] + [member]
        return member

    async def stop(self, member: Member) -> None:
        member.scope.cancel()
        await member.ended.wait()

    async def submit(self, sender: Any, action: Action, *, through: Member) -> Hash:
        transaction = self.founders.transaction(through.parts.chain, sender, action)
        id: Hash = await through.parts.transactions.submit(transaction.raw)
        return id

    async def until(self, condition: Callable[[], bool], within_s: float = 60.0) -> None:
        with trio.fail_after(within_s):
            while not condition():
                await trio.sleep(0.02)

    async def until_height(self, height: int, within_s: float = 60.0) -> None:
        """Of every running member."""
        running = [member for member in self.members if member.serving is not None]
        await self.until(lambda: all(member.height >= height for member in running), within_s)


async def _serve(
    member: Member, config: NodeConfig, founders: Founders, *, task_status: Any
) -> None:
    try:
        with member.scope:
            await serve_node(config, founders.genesis, member.identity, task_status=task_status)
    finally:
        member.serving = None
        member.ended.set()


@asynccontextmanager
async def open_cluster(
    folder: Path, count: int = 4, params: Params = QUICK, rich: tuple[KeyPair, ...] = (ALICE, BOB)
) -> AsyncIterator[Cluster]:
    """An empty cluster of a chain that begins now and has `count` founders."""
    founders = Founders(count, params, time.time_ns() // 10**6, rich)
    async with trio.open_nursery() as nursery:
        yield Cluster(founders, folder, nursery, [])
        nursery.cancel_scope.cancel()
