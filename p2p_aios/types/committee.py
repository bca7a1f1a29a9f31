"""Committees: who votes in an epoch, and with what weight."""

from dataclasses import dataclass
from typing import Annotated

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Range, Size
from p2p_aios.crypto.hashing import sha256
from p2p_aios.types.vote import SEATS_MAX
from p2p_aios.units import Address, Epoch, Hash, PublicKey

PeerIdBytes = Annotated[bytes, Size(1, 64)]
"""A libp2p peer id in its binary multihash form."""


@dataclass(frozen=True, slots=True)
class Member:
    """One seat. Its index in the committee is its seat number."""

    address: Address
    """Of the validator key."""
    public_key: PublicKey
    peer_id: PeerIdBytes
    weight: Annotated[int, Range(1, 2**63)]


@dataclass(frozen=True, slots=True)
class Committee:
    """The voters of one epoch, and the seed that orders their leadership."""

    epoch: Epoch
    members: Annotated[tuple[Member, ...], Size(1, SEATS_MAX)]
    """Ascending by address."""
    seed: Hash
    """Beacon mix at the end of the epoch before (of genesis for the first two)."""


@dataclass(frozen=True, slots=True)
class CommitteePair:
    """What a header's committee_hash commits to; the next one's seed is still open, so not part."""

    current: Committee
    upcoming: Annotated[tuple[Member, ...], Size(1, SEATS_MAX)]


def is_quorum(signed: int, total: int) -> bool:
    """More than two thirds of the weight: two quorums share more than a third."""
    return 3 * signed > 2 * total


def committee_hash(current: Committee, upcoming: tuple[Member, ...]) -> Hash:
    return sha256(schema.encode(CommitteePair(current, upcoming)))
