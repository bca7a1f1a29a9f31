"""What committee members send each other over their streams (DESIGN §6, "The paths")."""

from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Range, Size, Variants
from p2p_aios.types.block import BLOCK_BYTES_MAX, Block, Proposal
from p2p_aios.types.vote import Certificate, Vote
from p2p_aios.units import Epoch, Hash, View

REQUEST_VIEWS_MAX: Final = 32
"""Most views one request may name."""
BACKFILL_BLOCKS_MAX: Final = 8
"""Most blocks in one answer."""
MESSAGE_BYTES_MAX: Final = 1 << 20
"""Largest encoded committee message: one block of the largest size fits."""


@dataclass(frozen=True, slots=True)
class RequestCertificates:
    """Asks for the certificates of these views; each is answered as a `Certificate` of its own."""

    epoch: Epoch
    views: Annotated[tuple[View, ...], Size(1, REQUEST_VIEWS_MAX)]


@dataclass(frozen=True, slots=True)
class RequestBlocks:
    """Asks for a block and some of its ancestors."""

    block: Hash
    ancestors: Annotated[int, Range(0, BACKFILL_BLOCKS_MAX - 1)]
    """How many of them, beginning with the parent."""


@dataclass(frozen=True, slots=True)
class Backfill:
    """The answer to `RequestBlocks`, as much of it as fits in a message."""

    blocks: Annotated[tuple[Block, ...], Size(1, BACKFILL_BLOCKS_MAX)]
    """Newest first: each is the parent of the one before it."""


CommitteeMessage = Annotated[
    Proposal | Vote | Certificate | RequestCertificates | RequestBlocks | Backfill,
    Variants(
        {
            1: Proposal,
            2: Vote,
            3: Certificate,
            4: RequestCertificates,
            5: RequestBlocks,
            6: Backfill,
        }
    ),
]
"""Everything that travels on a committee stream."""


def encode_message(message: CommitteeMessage) -> bytes:
    return schema.encode_as(CommitteeMessage, message)


def decode_message(data: bytes) -> CommitteeMessage:
    """Raises Invalid as `codec.schema.decode` does."""
    message: CommitteeMessage = schema.decode_as(CommitteeMessage, data, MESSAGE_BYTES_MAX)
    return message


def block_bytes(block: Block) -> int:
    """About the encoded size of a block: enough to keep an answer within a message."""
    return 1024 + sum(len(transaction) + 5 for transaction in block.transactions)


def fitting(blocks: list[Block]) -> tuple[Block, ...]:
    """The longest beginning of `blocks` that makes one Backfill; at least the first."""
    taken: list[Block] = []
    room = BLOCK_BYTES_MAX
    for block in blocks[:BACKFILL_BLOCKS_MAX]:
        room -= block_bytes(block)
        if taken and room < 0:
            break
        taken.append(block)
    return tuple(taken)
