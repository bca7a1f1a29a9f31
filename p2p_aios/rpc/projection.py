"""Views of finalized blocks."""

from typing import Final

from p2p_aios.codec import schema
from p2p_aios.crypto.keys import address_of
from p2p_aios.types.block import Block, FinalizedBlock, block_hash
from p2p_aios.types.event import (
    AttestationRefused,
    AttestOpened,
    RevealOpened,
    RoundOpened,
    RoundSettled,
    RoundVoided,
    UpdateRefused,
)
from p2p_aios.types.learning import Round, TaskId
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.transaction import TRANSACTION_BYTES_MAX, Transaction, transaction_id
from p2p_aios.types.views import BlockSummary, BlockView
from p2p_aios.units import Address

ROUND_EVENTS: Final = (
    RoundOpened,
    RevealOpened,
    AttestOpened,
    UpdateRefused,
    AttestationRefused,
    RoundSettled,
    RoundVoided,
)


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


def senders_of(block: Block) -> list[Address]:
    """Who sent each of its transactions."""
    return [address_of(decode_transaction(raw).body.sender) for raw in block.transactions]


def list_rounds(outcome: BlockOutcome) -> tuple[tuple[TaskId, Round], ...]:
    """Learning rounds that the block moved, each once, in order."""
    events = [event for receipt in outcome.receipts for event in receipt.events]
    moved = [
        (event.task, event.round)
        for event in (*events, *outcome.events)
        if isinstance(event, ROUND_EVENTS)
    ]
    return tuple(dict.fromkeys(moved))
