"""Committee members as consensus names them (addresses) and as the network does (peer ids)."""

from collections.abc import AsyncIterator
from typing import assert_never

from p2p_aios.consensus.events import Connected, Disconnected, Received
from p2p_aios.errors import Invalid
from p2p_aios.ledger.queries import read_committee
from p2p_aios.network.node import Network
from p2p_aios.network.penalties import GARBAGE
from p2p_aios.network.streams import CommitteeEvent, Frame, PeerJoined, PeerLeft
from p2p_aios.node.chain import Chain
from p2p_aios.types.message import decode_message
from p2p_aios.units import Address, Epoch

StreamEvent = Connected | Disconnected | Received


class CommitteeMap:
    """The committee streams by address, for this and the next epoch's members."""

    def __init__(self, chain: Chain, network: Network) -> None:
        self._chain = chain
        self._network = network
        self._peers: dict[Address, bytes] = {}
        self._addresses: dict[bytes, Address] = {}
        self.follow_epoch()

    async def listen(self) -> AsyncIterator[StreamEvent]:
        """What members do, as consensus hears it; garbage counts against its sender."""
        async for happening in self._network.committee.events:
            member = self.address_of(happening.peer)
            event = None if member is None else self._event_of(member, happening)
            if event is not None:
                yield event

    def _event_of(self, member: Address, happening: CommitteeEvent) -> StreamEvent | None:
        match happening:
            case PeerJoined():
                return Connected(member)
            case PeerLeft():
                return Disconnected(member)
            case Frame(data=data):
                try:
                    return Received(member, decode_message(data))
                except Invalid as error:
                    self.penalize(member, GARBAGE, error.code)
                    return None
            case other:
                assert_never(other)

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
