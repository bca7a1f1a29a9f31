"""Views of finalized blocks, and which events a follower asked for."""

from dataclasses import dataclass, fields
from typing import Annotated, Any, Final, get_args

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Size
from p2p_aios.crypto.keys import address_of, parse_address
from p2p_aios.errors import Invalid
from p2p_aios.types.block import Block, FinalizedBlock, block_hash
from p2p_aios.types.event import (
    AttestationRefused,
    AttestOpened,
    Event,
    RevealOpened,
    RoundOpened,
    RoundSettled,
    RoundVoided,
    UpdateRefused,
)
from p2p_aios.types.learning import Round, TaskId
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.transaction import TRANSACTION_BYTES_MAX, Transaction, transaction_id
from p2p_aios.types.views import BlockSummary, BlockView, EventNotice, ReceiptNotice

EVENT_KINDS: Final = tuple(kind.__name__ for kind in get_args(get_args(Event)[0]))
"""Names of the event types."""
ROUND_EVENTS: Final = (
    RoundOpened,
    RevealOpened,
    AttestOpened,
    UpdateRefused,
    AttestationRefused,
    RoundSettled,
    RoundVoided,
)

KindNames = Annotated[tuple[Annotated[str, Size(1, 64)], ...], Size(0, 64)]
SubjectText = Annotated[str, Size(1, 128)]


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events to pass on; an empty filter passes all."""

    kinds: frozenset[str]
    subject: bytes | None
    """Id of a task or job, or an address, that one of the event's fields must name."""

    def passes(self, event: Any) -> bool:
        if self.kinds and type(event).__name__ not in self.kinds:
            return False
        return self.subject is None or _names(event, self.subject)


def make_filter(kinds: tuple[str, ...], subject: str | None) -> EventFilter:
    """Raises Invalid: `unknown_event_kind`, `subject_malformed`."""
    for kind in kinds:
        if kind not in EVENT_KINDS:
            raise Invalid(
                "unknown_event_kind", f"no event is called {kind}; there are {list(EVENT_KINDS)}"
            )
    return EventFilter(frozenset(kinds), None if subject is None else parse_subject(subject))


def summarize(block: Block) -> BlockSummary:
    sizes = [len(raw) for raw in block.transactions]
    return BlockSummary(block_hash(block.header), block.header, len(sizes), sum(sizes))


def view_block(
    finalized: FinalizedBlock, outcome: BlockOutcome | None, has_transactions: bool
) -> BlockView:
    """The whole block; its transactions decoded where `has_transactions`."""
    block = finalized.block
    decoded = [decode_transaction(raw) for raw in block.transactions]
    return BlockView(
        block_hash(block.header),
        block.header,
        tuple(transaction_id(transaction.body) for transaction in decoded),
        tuple(decoded) if has_transactions else None,
        finalized.certificate,
        outcome,
    )


def decode_transaction(raw: bytes) -> Transaction:
    """Raises Invalid with the codes of `schema.decode`."""
    return schema.decode(Transaction, raw, TRANSACTION_BYTES_MAX)


def list_events(block: Block, outcome: BlockOutcome) -> tuple[EventNotice, ...]:
    """Events of the transactions in order, then those of the block itself."""
    header, of_block = block.header, block_hash(block.header)
    notices = [
        EventNotice(header.height, of_block, header.timestamp_ms, receipt.transaction, event)
        for receipt in outcome.receipts
        for event in receipt.events
    ]
    notices += [
        EventNotice(header.height, of_block, header.timestamp_ms, None, event)
        for event in outcome.events
    ]
    return tuple(notices)


def list_receipts(block: Block, outcome: BlockOutcome) -> tuple[ReceiptNotice, ...]:
    """Receipts of the block's transactions, in order."""
    header, of_block = block.header, block_hash(block.header)
    return tuple(
        ReceiptNotice(
            header.height,
            of_block,
            header.timestamp_ms,
            index,
            address_of(decode_transaction(raw).body.sender),
            receipt,
        )
        for index, (raw, receipt) in enumerate(
            zip(block.transactions, outcome.receipts, strict=True)
        )
    )


def list_rounds(outcome: BlockOutcome) -> tuple[tuple[TaskId, Round], ...]:
    """Learning rounds that the block moved, each once, in order."""
    events = [event for receipt in outcome.receipts for event in receipt.events]
    moved = [
        (event.task, event.round)
        for event in (*events, *outcome.events)
        if isinstance(event, ROUND_EVENTS)
    ]
    return tuple(dict.fromkeys(moved))


def is_about(notice: ReceiptNotice, subject: bytes) -> bool:
    """Whether `subject` is its transaction or sender, or is named by one of its events."""
    if subject in (notice.receipt.transaction, notice.sender):
        return True
    return any(_names(event, subject) for event in notice.receipt.events)


def parse_subject(text: str) -> bytes:
    """Raises Invalid: `subject_malformed`, `address_malformed`."""
    if text.startswith("aios1"):
        return parse_address(text)
    try:
        subject = bytes.fromhex(text)
    except ValueError:
        subject = b""
    if len(subject) != 32:
        raise Invalid(
            "subject_malformed", "a subject is an address (aios1…) or an id of 64 hex digits"
        )
    return subject


def _names(event: Any, subject: bytes) -> bool:
    for field in fields(event):
        value = getattr(event, field.name)
        if value == subject or (type(value) is tuple and subject in value):
            return True
    return False
