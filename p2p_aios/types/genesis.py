"""Genesis: the parameters and the first state; its hash is the chain id."""

from dataclasses import dataclass
from typing import Annotated, Any

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Range, Size
from p2p_aios.crypto.hashing import sha256
from p2p_aios.params import Params
from p2p_aios.types.committee import PeerIdBytes
from p2p_aios.types.vote import SEATS_MAX
from p2p_aios.units import Address, Amount, Hash, Millis, PublicKey


@dataclass(frozen=True, slots=True)
class GenesisValidator:
    """A founding validator: three keys (owner, validator, peer), none derived from another."""

    owner: Address
    """Account that receives its rewards."""
    public_key: PublicKey
    """Signs votes and attestations."""
    peer_id: PeerIdBytes
    """Identity on the peer-to-peer network."""
    beacon_anchor: Hash


@dataclass(frozen=True, slots=True)
class GenesisAccount:
    address: Address
    balance: Amount


@dataclass(frozen=True, slots=True)
class Genesis:
    network: Annotated[str, Size(1, 32)]
    timestamp_ms: Millis
    params: Params
    dormant_sat: Annotated[int, Range(0, 21 * 10**14)]
    """The oracle's first value: dormant bitcoin in satoshis (paper §7.1)."""
    validators: Annotated[tuple[GenesisValidator, ...], Size(1, SEATS_MAX)]
    accounts: Annotated[tuple[GenesisAccount, ...], Size(0, 4096)]
    """Initial balances; they come out of the reserve."""


def chain_id(genesis: Genesis) -> Hash:
    """sha256 of the canonical genesis."""
    return sha256(schema.encode(genesis))


def genesis_from_json(value: Any) -> Genesis:
    """Raises Invalid(`schema_mismatch`) naming the field."""
    return schema.from_json(Genesis, value)
