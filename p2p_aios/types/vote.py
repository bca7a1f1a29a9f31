"""Consensus votes and certificates (DESIGN §6).

A vote binds chain, epoch and view, so it means nothing in any other instance.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Range, Size
from p2p_aios.crypto.hashing import signing_digest
from p2p_aios.units import ZERO_HASH, Epoch, Hash, Signature, View

SEATS_MAX = 64

Seat = Annotated[int, Range(0, SEATS_MAX - 1)]
"""Index of a member in its epoch's committee."""


class VoteKind(IntEnum):
    NOTARIZE = 1
    """This block is valid and the one I support in this view."""
    NULLIFY = 2
    """This view may end without a block."""
    FINALIZE = 3
    """I saw the block notarized and did not nullify: it is final."""


@dataclass(frozen=True, slots=True)
class Ballot:
    """What is voted on; every signature of a certificate covers the same one."""

    kind: VoteKind
    epoch: Epoch
    view: View
    block: Hash
    """Zero for NULLIFY."""


@dataclass(frozen=True, slots=True)
class Vote:
    ballot: Ballot
    seat: Seat
    signature: Signature
    """By the member's validator key, over `ballot_digest`."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Votes of more than two thirds of the committee's weight on one ballot."""

    ballot: Ballot
    seats: Annotated[tuple[Seat, ...], Size(1, SEATS_MAX)]
    """Ascending, without repetition."""
    signatures: Annotated[tuple[Signature, ...], Size(1, SEATS_MAX)]
    """In the order of `seats`."""


def ballot_digest(chain_id: Hash, ballot: Ballot) -> Hash:
    """What a vote's signature covers."""
    return signing_digest("vote", chain_id, schema.encode(ballot))


def is_well_formed(ballot: Ballot) -> bool:
    """Whether it names a block exactly where its kind has one; views start at 1."""
    return ballot.view > 0 and (ballot.block == ZERO_HASH) == (ballot.kind is VoteKind.NULLIFY)


def is_conflict(first: Ballot, second: Ballot) -> bool:
    """Whether no honest validator signs both: the proof of misbehaviour (DESIGN §6, "Evidence").

    Two notarize or two finalize votes for different blocks of one view, or a finalize beside a
    nullify. A notarize beside a nullify, or beside a finalize for another block, is honest.
    """
    if (first.epoch, first.view) != (second.epoch, second.view):
        return False
    if first.kind is second.kind:
        return first.kind is not VoteKind.NULLIFY and first.block != second.block
    return {first.kind, second.kind} == {VoteKind.FINALIZE, VoteKind.NULLIFY}
