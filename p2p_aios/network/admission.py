"""Who may connect: one rule for every connection, ours and theirs.

Peer ids cost nothing to make, addresses do: strangers from one address may take a part of the
connections only, and all of them together leave room for the peers that we know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network, ip_address
from typing import Final

CONNECTIONS_PER_PEER_MAX: Final = 2
"""Two, since both sides may dial at the same moment."""
STRANGERS_PER_ADDRESS_MAX: Final = 16
"""Connections of unknown peers from one address; this machine's own are not counted."""
IPV6_PREFIX_BITS: Final = 64
"""What counts as one address: the least that a customer is given."""


@dataclass(frozen=True, slots=True)
class Link:
    """One connection, as far as the rule is concerned."""

    peer: bytes
    host: str
    """Address of the other end; empty where it is unknown."""


class Admission:
    """The rule of one node, with the peers that it knows."""

    def __init__(self, own: bytes, connections_max: int, known_reserved: int) -> None:
        self._own = own
        self._connections_max = connections_max
        self._known_reserved = known_reserved
        self._known: dict[str, frozenset[bytes]] = {}

    def set_known(self, source: str, peers: frozenset[bytes]) -> None:
        """Name the peers that may use the reserved connections, by the part that knows them."""
        self._known[source] = peers

    def is_known(self, peer: bytes) -> bool:
        return any(peer in peers for peers in self._known.values())

    def refusal(self, new: Link, held: Sequence[Link]) -> str | None:
        """Why a new connection is not let in beside those held; None if it is."""
        if new.peer == self._own:
            return "this is ourselves"
        if sum(link.peer == new.peer for link in held) >= CONNECTIONS_PER_PEER_MAX:
            return "the peer has its connections"
        if self.is_known(new.peer):
            return "no room" if len(held) >= self._connections_max else None
        if len(held) >= self._connections_max - self._known_reserved:
            return "no room for peers that we do not know"
        place = _place_of(new.host)
        if place is None:
            return None
        there = sum(_place_of(link.host) == place and not self.is_known(link.peer) for link in held)
        return "its address has its connections" if there >= STRANGERS_PER_ADDRESS_MAX else None


def _place_of(host: str) -> str | None:
    """What counts as one address; None for this machine, and for what is no address."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address.is_loopback:
        return None
    if isinstance(address, IPv6Address):
        return str(IPv6Network((int(address), IPV6_PREFIX_BITS), strict=False))
    return str(address)
