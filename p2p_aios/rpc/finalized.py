"""One finalized block, as its followers see it.

Each form is made when the first follower asks for it, and kept for the others: with two hundred of
them, writing the JSON of a block is what costs. A notice is found by what it names, so that a
follower who waits for one address costs the same in a full block as in an empty one.
"""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from p2p_aios.codec import schema
from p2p_aios.rpc.backend import Backend
from p2p_aios.rpc.projection import list_rounds, senders_of, summarize
from p2p_aios.types.block import Block
from p2p_aios.types.learning import Round, TaskId
from p2p_aios.types.notices import kind_of, list_events, list_receipts, subjects_of
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.views import EventNotice, ReceiptNotice


class Finalized:
    """A block and what it did, in JSON texts."""

    def __init__(self, block: Block, outcome: BlockOutcome) -> None:
        self._block = block
        self._outcome = outcome
        self._rounds: dict[tuple[TaskId, Round], str | None] = {}

    @cached_property
    def summary_text(self) -> str:
        return _text(summarize(self._block))

    @cached_property
    def events(self) -> "Notices":
        """Of its transactions in order, then the block's own."""
        return Notices(list_events(self._block.header, self._outcome))

    @cached_property
    def receipts(self) -> "Notices":
        """Of its transactions in order."""
        block = self._block
        return Notices(list_receipts(block.header, senders_of(block), self._outcome))

    async def round_texts(self, backend: Backend, task: bytes | None) -> list[str]:
        """Learning rounds that the block moved, of one task or of all, as they stand by now."""
        texts: list[str] = []
        for key in list_rounds(self._outcome):
            if task not in (None, key[0]):
                continue
            if key not in self._rounds:
                view = await backend.round(*key)
                self._rounds[key] = None if view is None else _text(view)
            text = self._rounds[key]
            texts += [] if text is None else [text]
        return texts


class Notices:
    """Notices of one block, each written once."""

    def __init__(self, notices: Sequence[EventNotice | ReceiptNotice]) -> None:
        self._notices = notices
        self._written: dict[int, str] = {}

    def texts(self, kinds: frozenset[str], subject: bytes | None) -> list[str]:
        """Those of one of these kinds (none: of any) that name `subject` (None: whatever)."""
        if subject is not None:
            named = self._by_subject.get(subject, ())
            found = [each for each in named if not kinds or self._kind(each) in kinds]
        elif kinds:
            found = sorted(each for kind in kinds for each in self._by_kind.get(kind, ()))
        else:
            found = list(range(len(self._notices)))
        return [self._text(each) for each in found]

    @cached_property
    def _by_subject(self) -> dict[bytes, list[int]]:
        places: dict[bytes, list[int]] = {}
        for place, notice in enumerate(self._notices):
            for subject in dict.fromkeys(subjects_of(notice)):
                places.setdefault(subject, []).append(place)
        return places

    @cached_property
    def _by_kind(self) -> dict[str, list[int]]:
        places: dict[str, list[int]] = {}
        for place in range(len(self._notices)):
            places.setdefault(self._kind(place), []).append(place)
        return places

    def _kind(self, place: int) -> str:
        return kind_of(self._notices[place])

    def _text(self, place: int) -> str:
        if place not in self._written:
            self._written[place] = _text(self._notices[place])
        return self._written[place]


def _text(notice: Any) -> str:
    return json.dumps(schema.to_json(notice), separators=(",", ":"))
