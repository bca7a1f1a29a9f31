"""Notices of a block are found by an index: what it finds is what the filters let through."""

from typing import Any

import pytest

from p2p_aios.rpc import finalized
from p2p_aios.rpc.finalized import Finalized
from p2p_aios.types.event import RoundVoided, Transferred, UpdateRefused
from p2p_aios.types.notices import EventFilter, is_about, list_events, list_receipts
from p2p_aios.types.receipt import BlockOutcome, Receipt
from p2p_aios.units import Address, Amount, Hash
from tests.rpc.memory_backend import ALICE, BOB, MemoryBackend
from tests.rpc.test_rpc_methods import transfer

TASK = Hash(b"\x07" * 32)


async def block_of(count: int) -> tuple[Any, BlockOutcome]:
    """With events of several kinds, that name one another's subjects."""
    backend = MemoryBackend()
    for nonce in range(count):
        await backend.submit(transfer(backend, nonce=nonce, amount=1).raw)
    block = backend.finalize().block
    receipts = []
    for number, receipt in enumerate(backend.outcomes[0].receipts):
        stranger = Address(number.to_bytes(20, "big"))
        events = (Transferred(ALICE.address, stranger, Amount(1)), *receipt.events)
        receipts.append(Receipt(receipt.transaction, receipt.code, receipt.fee, events))
    of_block = (RoundVoided(TASK, 2, "no_quorum"), UpdateRefused(TASK, 2, BOB.address, "late"))
    return block, BlockOutcome(tuple(receipts), of_block)


@pytest.mark.parametrize("kinds", [(), ("Transferred",), ("RoundVoided", "UpdateRefused")])
@pytest.mark.parametrize(
    "subject", [None, ALICE.address, BOB.address, TASK, bytes(19) + b"\x03", b"nobody"]
)
async def test_what_is_found_is_what_the_filters_pass(
    kinds: tuple[str, ...], subject: bytes | None
) -> None:
    block, outcome = await block_of(6)
    seen = Finalized(block, outcome)
    wanted = EventFilter(frozenset(kinds), subject)
    events = [
        finalized._text(notice)
        for notice in list_events(block.header, outcome)
        if wanted.passes(notice.event)
    ]
    assert seen.events.texts(frozenset(kinds), subject) == events
    senders = [ALICE.address] * 6
    receipts = [
        finalized._text(notice)
        for notice in list_receipts(block.header, senders, outcome)
        if subject is None or is_about(notice, subject)
    ]
    assert seen.receipts.texts(frozenset(), subject) == receipts


async def test_what_nobody_asks_for_is_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Any] = []
    write = finalized._text
    monkeypatch.setattr(finalized, "_text", lambda each: written.append(each) or write(each))
    block, outcome = await block_of(20)
    seen = Finalized(block, outcome)
    for _ in range(50):
        assert len(seen.events.texts(frozenset(), bytes(19) + b"\x03")) == 1
        assert seen.receipts.texts(frozenset(), bytes(20).replace(b"\0", b"\xee")) == []
    assert len(written) == 1
