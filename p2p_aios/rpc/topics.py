"""What can be followed over a WebSocket, and the methods that begin and end it.

    blocks    a BlockSummary of each finalized block
    events    an EventNotice each; `kinds` and `subject` narrow them
    receipts  a ReceiptNotice each; `subject` is a transaction's id, or an address that sent the
              transaction or is named by one of its events
    rounds    a RoundView whenever a learning round moved; `subject` is a task's id

Called over HTTP, `subscribe` says where it belongs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.limits import Size
from p2p_aios.errors import Invalid
from p2p_aios.rpc.finalized import Finalized
from p2p_aios.rpc.registry import Method, Service, method
from p2p_aios.types.notices import KindNames, SubjectText, make_filter

TOPICS: Final = ("blocks", "events", "receipts", "rounds")


@dataclass(frozen=True, slots=True)
class Subscribe:
    topic: Annotated[str, Size(1, 32)]
    kinds: KindNames = ()
    """Event type names, for `events`; none: all."""
    subject: SubjectText | None = None
    """Narrows `events`, `receipts` and `rounds`; `blocks` have none."""


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    subscription: int


@method("subscribe", Subscribe, int, is_on_socket=True)
async def subscribe(_: Service, __: Subscribe) -> int:
    """Follow blocks, events, receipts or learning rounds; the subscription's number."""
    raise _misplaced()


@method("unsubscribe", Unsubscribe, bool, is_on_socket=True)
async def unsubscribe(_: Service, __: Unsubscribe) -> bool:
    """End a subscription; false where there is none of that number."""
    raise _misplaced()


METHODS: Final[tuple[Method, ...]] = (subscribe, unsubscribe)
"""Each WebSocket session puts its own handlers in their place."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one subscription passes on."""

    topic: str
    kinds: frozenset[str]
    """Of events; none: all."""
    subject: bytes | None

    async def select(self, finalized: Finalized, service: Service) -> Iterable[str]:
        """The notices of one block, as JSON texts, each written once for all subscribers."""
        match self.topic:
            case "blocks":
                return (finalized.summary_text,)
            case "events":
                return finalized.events.texts(self.kinds, self.subject)
            case "receipts":
                return finalized.receipts.texts(self.kinds, self.subject)
            case _:
                return await finalized.round_texts(service.backend, self.subject)


def read_topic(asked: Subscribe) -> Wanted:
    """Raises Invalid: `unknown_topic`, `unknown_event_kind`, `subject_malformed`."""
    if asked.topic not in TOPICS:
        raise Invalid("unknown_topic", f"no topic {asked.topic!r}; there are {', '.join(TOPICS)}")
    if asked.kinds and asked.topic != "events":
        raise Invalid("params_invalid", f"{asked.topic} have no kinds; only events do")
    if asked.subject is not None and asked.topic == "blocks":
        raise Invalid("params_invalid", "blocks have no subject; follow events or receipts of it")
    wanted = make_filter(asked.kinds, asked.subject)
    return Wanted(asked.topic, wanted.kinds, wanted.subject)


def _misplaced() -> Invalid:
    return Invalid("socket_required", "subscriptions live on the WebSocket at /ws, not on POST /")
