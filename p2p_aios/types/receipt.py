"""Receipts: what became of each transaction of a block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec import cbor, schema
from p2p_aios.codec.limits import Size
from p2p_aios.crypto.merkle import merkle_root
from p2p_aios.types.event import Code, Event, Events
from p2p_aios.units import Amount, Hash

SUCCESS: Final = "ok"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One transaction's outcome. A failed action changes nothing but the fee and the nonce."""

    transaction: Hash
    code: Code
    """`ok`, or the stable code of why the action failed."""
    fee: Amount
    events: Events


@dataclass(frozen=True, slots=True)
class BlockOutcome:
    """Everything a block did, as `receipts_root` commits to it."""

    receipts: Annotated[tuple[Receipt, ...], Size(0, 16_384)]
    """One per transaction, in order."""
    events: Events
    """Done by the block itself: deadlines, draws, settlement."""


@dataclass(frozen=True, slots=True)
class EncodedOutcome:
    """A block's outcome, each part encoded once: for its header's root, and for the disk."""

    receipts: tuple[bytes, ...]
    events: bytes

    def root(self) -> Hash:
        """`Header.receipts_root`: Merkle root over the receipts and, last, the block's events."""
        return merkle_root([*self.receipts, self.events])

    def encoded(self) -> bytes:
        """Canonical bytes of the BlockOutcome."""
        return cbor.encode_array((cbor.encode_array(self.receipts), self.events))


def encode_outcome(receipts: Sequence[Receipt], events: Sequence[Event]) -> EncodedOutcome:
    """Of what a block's execution yields."""
    encoded = tuple(schema.encode(receipt) for receipt in receipts)
    return EncodedOutcome(encoded, schema.encode_as(Events, tuple(events)))


def receipts_root(receipts: Sequence[Receipt], events: Sequence[Event]) -> Hash:
    """Merkle root over the encoded receipts and, last, the block's own events."""
    return encode_outcome(receipts, events).root()
