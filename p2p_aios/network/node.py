"""The whole network of a node, under one nursery."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.gossip import Gossip, open_gossip
from p2p_aios.network.host import Host, open_host
from p2p_aios.network.lifetime import unwrapped
from p2p_aios.network.peers import Peers
from p2p_aios.network.requests import Requests
from p2p_aios.network.streams import CommitteeStreams


@dataclass(frozen=True, slots=True)
class Network:
    """A running network; its parts are used directly."""

    host: Host
    gossip: Gossip
    committee: CommitteeStreams
    requests: Requests
    peers: Peers

    @property
    def peer(self) -> bytes:
        """Our own binary peer id."""
        return self.host.peer

    @property
    def addresses(self) -> tuple[str, ...]:
        """What others dial to reach us."""
        return self.host.addresses


@asynccontextmanager
async def open_network(config: NetworkConfig) -> AsyncIterator[Network]:
    """Listen, dial the configured peers, and keep at it until the context is left.

    Raises Unavailable(`listen_failed`), Invalid(`key_malformed`, `address_malformed`).
    """
    async with unwrapped(), open_host(config) as host, open_gossip(host) as gossip:
        network = Network(
            host, gossip, CommitteeStreams(host), Requests(host), Peers(host, config.peers)
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.committee.run)
            nursery.start_soon(network.peers.run)
            try:
                yield network
            finally:
                nursery.cancel_scope.cancel()
