"""Committee members as consensus names them (addresses) and as the network does (peer ids)."""

import logging

import trio

from p2p_aios.ledger.queries import read_committee
from p2p_aios.network.node import Network
from p2p_aios.network.streams import CommitteeEvent
from p2p_aios.node.chain import Chain
from p2p_aios.units import Address, Epoch

log = logging.getLogger(__name__)


class CommitteeMap:
    """The committee streams by address, for this and the next epoch's members."""

    def __init__(self, chain: Chain, network: Network) -> None:
        self._chain = chain
        self._network = network
        self._peers: dict[Address, bytes] = {}
        self._addresses: dict[bytes, Address] = {}
        self.follow_epoch()

    @property
    def events(self) -> "trio.MemoryReceiveChannel[CommitteeEvent]":
        return self._network.committee.events

    def follow_epoch(self) -> None:
        """Let in the members of the tip's epoch and of the next two fixed ones."""
        epoch = self._chain.tip.epoch
        peers: dict[Address, bytes] = {}
        with self._chain.state() as state:
            for number in (epoch, epoch + 1, epoch + 2):
                committee = read_committee(state, Epoch(number))
                if committee is not None:
                    peers |= {member.address: member.peer_id for member in committee.members}
        if peers != self._peers:
            self._peers = peers
            self._addresses = {peer: address for address, peer in peers.items()}
            self._network.committee.set_committee(tuple(peers.values()))

    def address_of(self, peer: bytes) -> Address | None:
        return self._addresses.get(peer)

    def send(self, member: Address, data: bytes, *, urgent: bool) -> None:
        """Drops it where the member is not joined: consensus repeats what matters."""
        peer = self._peers.get(member)
        if peer is not None:
            self._network.committee.send(peer, data, urgent=urgent)

    def penalize(self, member: Address, points: int, why: str) -> None:
        peer = self._peers.get(member)
        if peer is not None:
            self._network.host.penalize(peer, points, why)
