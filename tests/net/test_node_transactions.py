"""Transactions between nodes: batched, held when early, renewed, and refused to those who flood."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from p2p_aios.codec import schema
from p2p_aios.ledger.queries import list_tasks, read_round
from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.gossip import GossipMessage, Topic
from p2p_aios.network.node import Network, open_network
from p2p_aios.network.pubsub import Verdict
from p2p_aios.node.chain import Chain
from p2p_aios.node.early import EARLY_BLOCKS, EARLY_PER_SENDER_MAX
from p2p_aios.node.transactions import RENEW_BLOCKS, Transactions
from p2p_aios.types.block import FinalizedBlock, block_hash
from p2p_aios.types.compute import JobKind, RegisterWorker
from p2p_aios.types.learning import AttestRound, CommitUpdate, Score, update_commitment
from p2p_aios.types.transaction import CheckedTransaction, TransactionBatch, Transfer
from p2p_aios.units import ZERO_HASH, Amount, Hash
from tests.ledger.world import cid, make_task
from tests.node.founders import ALICE, BOB, POOR, Founders

FOUNDERS = Founders()
PAY = Transfer(BOB.address, Amount(7))


@dataclass
class Pair:
    """A node's transactions on `chain`, and a neighbour that hears and says what a test wants."""

    chain: Chain
    pool: Transactions
    neighbour: Network
    heard: list[bytes]

    async def say(self, *transactions: CheckedTransaction) -> None:
        raws = tuple(transaction.raw for transaction in transactions)
        data = schema.encode_as(TransactionBatch, raws)
        await self.neighbour.gossip.publish(Topic.TRANSACTIONS, data)

    async def take(self, final: FinalizedBlock) -> None:
        """A block made elsewhere becomes final here."""
        checked = await self.pool.check(final.block.transactions)
        await self.chain.execute(final.block, checked)
        assert final.certificate is not None
        digest = block_hash(final.block.header)
        self.pool.forget_finalized(await self.chain.finalize([digest], final.certificate))


@asynccontextmanager
async def open_pair(folder: Path) -> AsyncIterator[Pair]:
    heard: list[bytes] = []

    async def listen(message: GossipMessage) -> Verdict:
        heard.extend(schema.decode_as(TransactionBatch, message.data))
        return Verdict.ACCEPT

    chain_id = FOUNDERS.chain_id
    async with (
        FOUNDERS.open_chain(folder) as chain,
        open_network(NetworkConfig(b"\x09" * 32, chain_id)) as own,
        open_network(NetworkConfig(b"\x08" * 32, chain_id, peers=own.addresses[:1])) as other,
        trio.open_nursery() as nursery,
    ):
        pool = Transactions(chain, own.gossip)
        nursery.start_soon(pool.run)
        await other.gossip.join(Topic.TRANSACTIONS, listen)
        await until(lambda: bool(other.gossip.neighbours(Topic.TRANSACTIONS)))
        await until(lambda: bool(own.gossip.neighbours(Topic.TRANSACTIONS)))
        yield Pair(chain, pool, other, heard)
        nursery.cancel_scope.cancel()


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    with trio.fail_after(within_s):
        while not condition():
            await trio.sleep(0.01)


async def test_what_a_client_submits_reaches_the_neighbours_in_batches(tmp_path: Path) -> None:
    async with open_pair(tmp_path / "chain") as pair:
        sent = [FOUNDERS.transaction(pair.chain, ALICE, PAY, nonce=n).raw for n in range(20)]
        for raw in sent:
            await pair.pool.submit(raw)
        await until(lambda: len(pair.heard) == len(sent))
        assert pair.heard == sent


async def test_what_a_neighbour_says_waits_here_unless_it_can_never_count(tmp_path: Path) -> None:
    async with open_pair(tmp_path / "chain") as pair:
        good = FOUNDERS.transaction(pair.chain, ALICE, PAY)
        poor = FOUNDERS.transaction(pair.chain, POOR, PAY)
        await pair.say(poor, good)
        await until(lambda: pair.pool.mempool.contains(good.id))
        assert not pair.pool.mempool.contains(poor.id)


async def test_ours_are_said_again_while_they_wait(tmp_path: Path) -> None:
    async with open_pair(tmp_path / "chain") as pair:
        pay = FOUNDERS.transaction(pair.chain, ALICE, PAY)
        await pair.pool.submit(pay.raw)
        await until(lambda: pair.heard == [pay.raw])
        for _ in range(RENEW_BLOCKS):
            await pair.take(await made_elsewhere(pair.chain))
        await until(lambda: pair.heard == [pay.raw] * 2)


async def made_elsewhere(chain: Chain) -> FinalizedBlock:
    """The tip's child, empty, built and certified but not final here."""
    candidate = await FOUNDERS.build(chain, chain.tip.hash)
    return FinalizedBlock(candidate.block, FOUNDERS.certify(chain, candidate))


async def test_a_commit_that_comes_before_its_round_is_held_and_then_waits(tmp_path: Path) -> None:
    async with open_pair(tmp_path / "chain") as pair, FOUNDERS.open_chain(tmp_path / "o") as ahead:
        history, commit = await open_round(ahead)
        await pair.say(commit)
        await until(lambda: commit in pair.pool.early)
        assert not pair.pool.mempool.contains(commit.id)
        for final in history:
            await pair.take(final)
        assert pair.pool.mempool.contains(commit.id)
        assert commit not in pair.pool.early


async def open_round(ahead: Chain) -> tuple[Sequence[FinalizedBlock], CheckedTransaction]:
    """Blocks after which a round takes commits, and ALICE's commit to it."""
    offer = RegisterWorker(FOUNDERS.validators[0].address, 1, (JobKind.TRAIN,))
    history = [
        await FOUNDERS.extend(
            ahead, *(FOUNDERS.transaction(ahead, worker, offer) for worker in (ALICE, BOB))
        )
    ]
    task = make_task(seats=2, updates_min=1)
    history.append(await FOUNDERS.extend(ahead, FOUNDERS.transaction(ahead, ALICE, task)))
    with ahead.state() as state:
        (found,) = list_tasks(state)
    while not (base := base_of(ahead, found.id)):
        history.append(await FOUNDERS.extend(ahead))
    commitment = update_commitment(
        ahead.chain_id, found.id, 0, ALICE.address, base, cid("update"), ZERO_HASH
    )
    return history, FOUNDERS.transaction(ahead, ALICE, CommitUpdate(found.id, 0, commitment))


def base_of(chain: Chain, task: Hash) -> bytes | None:
    with chain.state() as state:
        learning_round = read_round(state, task, 0)
    return None if learning_round is None else learning_round.base


async def test_early_ones_are_held_for_a_few_blocks_only(tmp_path: Path) -> None:
    async with open_pair(tmp_path / "chain") as pair:
        early = FOUNDERS.transaction(pair.chain, ALICE, CommitUpdate(ZERO_HASH, 0, ZERO_HASH))
        await pair.say(early)
        await until(lambda: early in pair.pool.early)
        for _ in range(EARLY_BLOCKS):
            assert early in pair.pool.early
            await pair.take(await made_elsewhere(pair.chain))
        assert early not in pair.pool.early


async def test_nobody_floods_with_what_is_merely_early(tmp_path: Path) -> None:
    """It costs no fee, so it takes an account that could pay one, and has a bound for each."""
    async with open_pair(tmp_path / "chain") as pair:
        flood = [
            FOUNDERS.transaction(
                pair.chain, sender, CommitUpdate(Hash(bytes([n]) * 32), 0, ZERO_HASH), nonce=n % 3
            )
            for sender in (POOR, ALICE)
            for n in range(50)
        ]
        # What may be free is not asked for its fee before its task is known.
        unknown = AttestRound(ZERO_HASH, 0, (), cid("aggregate"), Score(0, 0, 0))
        flood.append(FOUNDERS.transaction(pair.chain, POOR, unknown))
        last = FOUNDERS.transaction(pair.chain, BOB, PAY)
        await pair.say(*flood, last)
        await until(lambda: pair.pool.mempool.contains(last.id))
        held = [early.sender for early in pair.pool.early]
        assert held == [ALICE.address] * EARLY_PER_SENDER_MAX
