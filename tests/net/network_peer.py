"""A peer in a process of its own: `network_peer.py SECRET ROLE [PORT] [PEER ADDRESS...]`.

Prints its address, then plays its role until its standard input ends:
  member      a committee of itself and all given addresses; echoes every frame to its sender
  server      answers every request with as many bytes as the question asks for, slowly
  flooder     gossips and sends without pause until told to end, then shuts down
"""

import sys
from collections.abc import AsyncIterator

import trio

from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.gossip import GossipMessage, Topic
from p2p_aios.network.identity import parse_address
from p2p_aios.network.node import Network, open_network
from p2p_aios.network.pubsub import Verdict
from p2p_aios.network.streams import Frame
from p2p_aios.units import Hash

CHAIN_ID = Hash(b"\xc5" * 32)


async def accept(_message: GossipMessage) -> Verdict:
    return Verdict.ACCEPT


async def play_member(network: Network, addresses: tuple[str, ...]) -> None:
    members = [parse_address(address).peer for address in addresses]
    network.committee.set_committee([network.peer, *members])
    async for event in network.committee.events:
        if isinstance(event, Frame):
            network.committee.send(event.peer, event.data, urgent=event.urgent)


async def play_server(network: Network) -> None:
    async def answer(_peer: bytes, question: bytes) -> AsyncIterator[bytes]:
        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(int(question)):
                yield bytes(64 * 1024)
                await trio.sleep(0.01)

        return pieces()

    network.requests.serve(answer)
    await trio.sleep_forever()


async def play_flooder(network: Network, addresses: tuple[str, ...]) -> None:
    members = [parse_address(address).peer for address in addresses]
    network.committee.set_committee([network.peer, *members])
    await network.gossip.join(Topic.BLOCKS, accept)
    while True:
        await network.gossip.publish(Topic.BLOCKS, bytes(2000))
        network.committee.broadcast(bytes(300_000), urgent=False)
        network.committee.broadcast(bytes(300), urgent=True)
        await trio.sleep(0.02)


async def main(secret: str, role: str, port: str = "0", *addresses: str) -> None:
    config = NetworkConfig(
        bytes.fromhex(secret), CHAIN_ID, (f"/ip4/127.0.0.1/tcp/{port}",), peers=addresses
    )
    async with open_network(config) as network, trio.open_nursery() as nursery:
        print(network.addresses[0], flush=True)
        match role:
            case "member":
                nursery.start_soon(play_member, network, addresses)
            case "server":
                nursery.start_soon(play_server, network)
            case "flooder":
                nursery.start_soon(play_flooder, network, addresses)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main, *sys.argv[1:])
