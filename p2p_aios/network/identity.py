"""Peer identities: secp256k1 keys and the ids and addresses made from them.

Nothing here starts a host, so genesis tooling can name peers before any of them runs.
Source: libp2p specs, "Peer Ids and Keys".
"""

from dataclasses import dataclass

from libp2p.crypto.keys import KeyPair as LibKeyPair
from libp2p.crypto.secp256k1 import Secp256k1PrivateKey
from libp2p.peer.id import ID
from multiaddr import Multiaddr

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """Where a peer listens."""

    peer: bytes
    """Binary peer id."""
    address: str
    """Multiaddr with its /p2p/ part."""


def lib_key_pair(secret: bytes) -> LibKeyPair:
    """libp2p's form of our key. Raises Invalid(`key_malformed`)."""
    private = Secp256k1PrivateKey.new(KeyPair.from_secret(secret).secret)
    return LibKeyPair(private, private.get_public_key())


def peer_id_of(secret: bytes) -> bytes:
    """Binary peer id (a multihash, 39 bytes) of a node with this identity secret.

    Raises Invalid(`key_malformed`).
    """
    return bytes(ID.from_pubkey(lib_key_pair(secret).public_key).to_bytes())


def format_peer(peer: bytes) -> str:
    """`16Uiu2…`: the text form used in multiaddrs and logs."""
    return str(ID(peer).to_base58())


def parse_peer(text: str) -> bytes:
    """Binary peer id from base58. Raises Invalid(`peer_id_malformed`)."""
    try:
        peer = bytes(ID.from_base58(text).to_bytes())
    except ValueError:
        raise Invalid("peer_id_malformed", f"{text!r} is not a base58 peer id") from None
    if not 2 < len(peer) <= 64:
        raise Invalid("peer_id_malformed", f"{text!r} is not a peer id")
    return peer


def address_of(listen: str, peer: bytes) -> str:
    """A listen multiaddr with the peer's id appended: what others dial."""
    return f"{listen}/p2p/{format_peer(peer)}"


def parse_address(text: str) -> PeerAddress:
    """A dialable TCP address with its peer id.

    Raises Invalid(`address_malformed`).
    """
    hint = f"{text!r} is no peer address; write e.g. /ip4/127.0.0.1/tcp/4001/p2p/16Uiu2…"
    try:
        parts = dict(Multiaddr(text).items())
        names = {protocol.name: value for protocol, value in parts.items()}
    except Exception:  # noqa: BLE001 - multiaddr raises many unrelated types
        raise Invalid("address_malformed", hint) from None
    if "tcp" not in names or not names.get("p2p"):
        raise Invalid("address_malformed", hint)
    return PeerAddress(parse_peer(names["p2p"]), text)
