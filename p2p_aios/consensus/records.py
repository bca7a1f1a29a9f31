"""What a validator must not forget: the records of its journal (DESIGN §6, "Durability")."""

from dataclasses import dataclass
from typing import Annotated

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Variants
from p2p_aios.types.block import BLOCK_BYTES_MAX, Proposal
from p2p_aios.types.vote import Certificate, Vote
from p2p_aios.units import UINT64_MAX, Epoch, Height, Millis, View


@dataclass(frozen=True, slots=True)
class Silenced:
    """This key voted without this journal knowing: sign nothing more in this epoch."""

    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What was signed here or before may be in this journal no more. It was final on disk: whose
    chain ends before this position has lost that disk, and cannot tell what it signed since."""

    epoch: Epoch
    view: View


Record = Annotated[
    Proposal | Vote | Certificate | Silenced | Forgotten,
    Variants({1: Proposal, 2: Vote, 3: Certificate, 4: Silenced, 5: Forgotten}),
]
"""A proposal voted for (one's own included), one's own vote, a certificate, a silence, a loss."""


@dataclass(frozen=True, slots=True)
class JournalBirth:
    """When a journal was created: whatever was signed before is not in it."""

    wall_ms: Millis
    """By the validator's own clock."""
    height: Height
    """Of the chain then. 0 says that this validator's chain was created in the same moment; where
    a chain was there before its journal, even one of height 0, it is at least 1."""


RECORD_BYTES_MAX = BLOCK_BYTES_MAX + 64 * 1024
"""Largest encoded record: a proposal."""

Position = tuple[Epoch, View]
"""Order of all that is voted on."""


def position_of(record: Record) -> Position:
    """The instance and view a record matters in: needless once a later position is finalized."""
    match record:
        case Proposal(vote=vote) | (Vote() as vote):
            return vote.ballot.epoch, vote.ballot.view
        case Certificate(ballot=ballot):
            return ballot.epoch, ballot.view
        case Silenced(epoch=epoch):
            return epoch, View(UINT64_MAX)
        case Forgotten(epoch, view):
            return epoch, view


def encode_record(record: Record) -> bytes:
    return schema.encode_as(Record, record)


def decode_record(data: bytes) -> Record:
    """Raises Invalid as `codec.schema.decode` does."""
    record: Record = schema.decode_as(Record, data, RECORD_BYTES_MAX)
    return record
