"""What transactions cost four nodes from submission to finality: each thing done once by each."""

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from p2p_aios.codec import cbor, schema
from p2p_aios.ledger.environment import BlockContext
from p2p_aios.mempool import checked
from p2p_aios.network.gossip import Gossip, Topic
from p2p_aios.node import candidate
from p2p_aios.store.chain import ChainStore
from p2p_aios.types import transaction
from p2p_aios.types.block import BLOCK_BYTES_MAX, Block, Header
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.transaction import CheckedTransaction, Transfer
from p2p_aios.units import Amount
from tests.net.node_cluster import Cluster, Member, open_cluster
from tests.node.founders import ALICE, key

NODES = 4
SENDERS = tuple(key(f"sender {number}") for number in range(8))
EACH = 25
"""Transfers of one sender."""


class Meter:
    """How often something was done to what, and how much of it in the main thread."""

    def __init__(self) -> None:
        self.of: Counter[Any] = Counter()
        self.in_main = 0

    def watch(
        self, patch: pytest.MonkeyPatch, place: Any, name: str, subject: Callable[..., Any]
    ) -> None:
        """Count calls of `place.name`; `subject` picks of what from result and arguments."""
        original = getattr(place, name)

        def watched(*arguments: Any, **options: Any) -> Any:
            result = original(*arguments, **options)
            self.of[subject(result, *arguments, **options)] += 1
            self.in_main += threading.current_thread() is threading.main_thread()
            return result

        patch.setattr(place, name, watched)


def turn(context: BlockContext | Header) -> Any:
    """What tells two blocks apart."""
    return context.height, context.proposer, context.timestamp_ms


async def send(cluster: Cluster, member: Member) -> list[CheckedTransaction]:
    """As one RPC batch does."""
    pay, parts = Transfer(ALICE.address, Amount(1)), member.parts
    sent = [
        cluster.founders.transaction(parts.chain, sender, pay, nonce=nonce)
        for nonce in range(EACH)
        for sender in SENDERS
    ]
    await parts.transactions.check_ahead([each.raw for each in sent])
    for each in sent:
        await parts.transactions.submit(each.raw)
    return sent


def finalized(member: Member) -> tuple[list[Block], list[bytes]]:
    """Blocks with transactions, and the encoded receipts of these."""
    store, blocks, receipts = member.parts.chain.store, [], []
    for height in range(1, member.height + 1):
        block = schema.decode(Block, store.read_block(height), BLOCK_BYTES_MAX)
        if block.transactions:
            blocks.append(block)
            outcome = schema.decode(BlockOutcome, store.read_outcome(height))
            receipts += [schema.encode(receipt) for receipt in outcome.receipts]
    return blocks, receipts


@pytest.mark.slow
async def test_each_node_does_each_thing_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signatures, digests, encodings = Meter(), Meter(), Meter()
    executions, commits, messages = Meter(), Meter(), Meter()
    signatures.watch(monkeypatch, transaction, "is_signed", lambda *seen: seen[2])
    digests.watch(monkeypatch, checked, "raw_digest", lambda *seen: seen[1])
    encodings.watch(monkeypatch, cbor, "encode", lambda *seen: seen[0])
    for name in ("build_block", "execute_block"):
        executions.watch(monkeypatch, candidate, name, lambda *seen: turn(seen[2]))
    commits.watch(monkeypatch, ChainStore, "commit", lambda *seen: seen[1])
    messages.watch(monkeypatch, Gossip, "publish", lambda *seen: seen[2])
    batches: Counter[ChainStore] = Counter()
    async with open_cluster(tmp_path, rich=SENDERS) as cluster:
        members = [await cluster.start_validator(seat) for seat in range(NODES)]
        for member in members:
            store = member.parts.chain.store
            commits.of[store] = 0
            member.parts.finality.listen(lambda *_, store=store: batches.update([store]))
        await cluster.until_height(3)
        sent = await send(cluster, members[0])
        pools = [member.parts.transactions.mempool for member in members]
        await cluster.until(lambda: not any(map(len, pools)))
        await cluster.until_height(cluster.height)
        encoded = encodings.of.copy()
        blocks, receipts = finalized(members[0])
    included = [raw for block in blocks for raw in block.transactions]
    assert sorted(included) == sorted(each.raw for each in sent)
    assert {signatures.of[each.id] for each in sent} == {NODES}
    assert {digests.of[raw] for raw in included} == {NODES}
    assert {encoded[raw] for raw in included} == {1 + NODES}, "by its sender; to check the form"
    assert {encoded[receipt] for receipt in receipts} == {NODES}
    assert {executions.of[turn(block.header)] for block in blocks} == {NODES}
    # A commit under way at either end of the count is in one of the two only.
    assert all(abs(commits.of[store] - batches[store]) <= 1 for store in batches)
    assert len(batches) == NODES
    assert signatures.in_main < 0.1 * NODES * len(sent)
    assert executions.in_main == commits.in_main == 0
    assert messages.of[Topic.TRANSACTIONS] < len(sent) / 5
