"""The transactions of a node that nobody is connected to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.node import Network, open_network
from p2p_aios.node.chain import Chain
from p2p_aios.node.transactions import Transactions


@asynccontextmanager
async def open_quiet_network(chain: Chain) -> AsyncIterator[Network]:
    """A real one, on a free loopback port."""
    async with open_network(NetworkConfig(b"\x09" * 32, chain.chain_id)) as network:
        yield network


@asynccontextmanager
async def open_transactions(chain: Chain) -> AsyncIterator[Transactions]:
    async with open_quiet_network(chain) as network:
        yield Transactions(chain, network.gossip)
