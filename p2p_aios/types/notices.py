"""What followers of finalized blocks are told, and which of it they asked for.

A node makes notices as blocks become final; a client that changes nodes makes those it missed from
the blocks themselves, in the same order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, get_args

from p2p_aios.codec.limits import Size
from p2p_aios.crypto.keys import parse_address
from p2p_aios.errors import Invalid
from p2p_aios.types.block import Header, block_hash
from p2p_aios.types.event import Event
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.views import EventNotice, ReceiptNotice
from p2p_aios.units import Address

EVENT_KINDS: Final = tuple(kind.__name__ for kind in get_args(get_args(Event)[0]))
"""Names of the event types."""

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
        return self.subject is None or self.subject in _named_by(event)


def make_filter(kinds: Sequence[str], subject: str | None) -> EventFilter:
    """Raises Invalid: `unknown_event_kind`, `subject_malformed`."""
    for kind in kinds:
        if kind not in EVENT_KINDS:
            raise Invalid(
                "unknown_event_kind", f"no event is called {kind}; there are {list(EVENT_KINDS)}"
            )
    return EventFilter(frozenset(kinds), None if subject is None else parse_subject(subject))


def list_events(header: Header, outcome: BlockOutcome) -> tuple[EventNotice, ...]:
    """Events of the block's transactions in order, then those of the block itself."""
    of_block = block_hash(header)
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


def list_receipts(
    header: Header, senders: Sequence[Address], outcome: BlockOutcome
) -> tuple[ReceiptNotice, ...]:
    """Receipts of the block's transactions, in order; `senders` are of the same transactions."""
    of_block = block_hash(header)
    return tuple(
        ReceiptNotice(header.height, of_block, header.timestamp_ms, index, sender, receipt)
        for index, (sender, receipt) in enumerate(zip(senders, outcome.receipts, strict=True))
    )


def is_about(notice: ReceiptNotice, subject: bytes) -> bool:
    """Whether `subject` is its transaction or sender, or is named by one of its events."""
    return subject in subjects_of(notice)


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


def subjects_of(notice: EventNotice | ReceiptNotice) -> Iterator[bytes]:
    """What it can be found by: ids and addresses."""
    if isinstance(notice, EventNotice):
        yield from _named_by(notice.event)
        return
    yield notice.receipt.transaction
    yield notice.sender
    for event in notice.receipt.events:
        yield from _named_by(event)


def kind_of(notice: EventNotice | ReceiptNotice) -> str:
    """Name of its event's type; receipts have none."""
    return type(notice.event).__name__ if isinstance(notice, EventNotice) else ""


def _named_by(event: Event) -> Iterator[bytes]:
    for name in event.__dataclass_fields__:
        value = getattr(event, name)
        if type(value) is bytes:
            yield value
        elif type(value) is tuple:
            yield from (each for each in value if type(each) is bytes)
