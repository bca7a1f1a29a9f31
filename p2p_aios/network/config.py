"""What a node must say to open its network."""

from dataclasses import dataclass, field
from typing import Final

from p2p_aios.units import Hash

CONNECTIONS_MAX: Final = 128
"""Connections of one node, both directions together."""
KNOWN_CONNECTIONS_RESERVED: Final = 32
"""Of those, how many only configured and committee peers may take."""
CHAIN_TAG_BYTES: Final = 8
"""How much of the chain id goes into protocol and topic names."""


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """Identity, addresses and limits of a node on the network."""

    secret: bytes = field(repr=False)
    """32 bytes: the libp2p identity key (secp256k1)."""
    chain_id: Hash
    """Nodes of different chains have no protocol in common."""
    listen: tuple[str, ...] = ("/ip4/127.0.0.1/tcp/0",)
    """Multiaddrs to listen on; port 0 takes a free one."""
    peers: tuple[str, ...] = ()
    """Multiaddrs with /p2p/ of the peers to keep a connection to."""
    connections_max: int = CONNECTIONS_MAX
    known_reserved: int = KNOWN_CONNECTIONS_RESERVED

    @property
    def chain_tag(self) -> str:
        return self.chain_id[:CHAIN_TAG_BYTES].hex()

    def protocol(self, name: str) -> str:
        """`/aios/<chain tag>/<name>/1`, for streams and topics alike."""
        return f"/aios/{self.chain_tag}/{name}/1"
