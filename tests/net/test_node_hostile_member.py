"""One bad member, or one bug that a transaction reaches, never ends a validator."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.node import Network, open_network
from p2p_aios.node import candidate as candidate_module
from p2p_aios.node.voting import STREAM_EVENTS_MAX
from p2p_aios.types.block import Proposal
from p2p_aios.types.message import encode_message
from p2p_aios.types.transaction import Transfer
from p2p_aios.types.vote import Ballot, Vote, VoteKind
from p2p_aios.units import Amount, Epoch, Hash, Millis, Signature, View
from tests.net.node_cluster import QUICK, Cluster, open_cluster
from tests.node.founders import ALICE, BOB

BRISK = replace(QUICK, block_interval_ms=Millis(100))
FORGED = Signature(b"\x01" * 64)


@pytest.mark.parametrize("kind", ["useless", "forged", "garbage"])
async def test_a_flood_from_one_member_ends_nobody(tmp_path: Path, kind: str) -> None:
    async with open_cluster(tmp_path, params=BRISK) as cluster, trio.open_nursery() as nursery:
        for seat in range(3):
            await cluster.start_validator(seat)
        villain = await nursery.start(flood, cluster, kind)
        await cluster.until_height(cluster.height + 3)
        if kind != "useless":
            await cluster.until(lambda: is_banned_everywhere(cluster, villain))
        nursery.cancel_scope.cancel()


async def test_a_flood_over_a_stuck_disk_leaves_room_for_our_own_events(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, params=BRISK) as cluster, trio.open_nursery() as nursery:
        validator = await cluster.start_validator(0)
        voting = validator.parts.voting
        async with voting._journaling:  # nothing becomes durable, so the core waits
            await nursery.start(flood, cluster, "useless")
            inbox = voting._inbox
            await cluster.until(lambda: inbox.statistics().current_buffer_used >= STREAM_EVENTS_MAX)
            await trio.sleep(0.5)
            assert inbox.statistics().tasks_waiting_send == 0
            await finalize_one(cluster)
        await cluster.until(lambda: voting.core.tip.height == 1)
        nursery.cancel_scope.cancel()


async def finalize_one(cluster: Cluster) -> None:
    """The first member learns of a final block otherwise, as when it catches up."""
    parts = cluster.members[0].parts
    async with cluster.founders.open_chain(cluster.folder / "elsewhere") as chain:
        final = await cluster.founders.extend(chain)
    candidate = await parts.chain.execute(final.block, ())
    await parts.finality.finalize([candidate.hash], final.certificate)


async def flood(cluster: Cluster, kind: str, *, task_status: Any) -> None:
    """The fourth seat: votes of views far ahead, forged votes and proposals, or garbage."""
    founders = cluster.founders
    addresses = tuple(member.parts.network.addresses[0] for member in cluster.members)
    config = NetworkConfig(founders.peer(3).secret, founders.chain_id, peers=addresses)
    block = (await made(cluster)).block
    first = 10_000 if kind == "useless" else 1
    votes = [
        Vote(Ballot(VoteKind.NOTARIZE, Epoch(0), View(view), Hash(bytes([7]) * 32)), 3, FORGED)
        for view in range(first, first + 200)
    ]
    frames = [b"\xff" * 100] if kind == "garbage" else [encode_message(vote) for vote in votes]
    proposal = encode_message(Proposal(block, View(first), View(0), votes[0]))
    async with open_network(config) as network:
        peers = [member.parts.network.peer for member in cluster.members]
        network.committee.set_committee([*peers, network.peer])
        await cluster.until(lambda: len(network.committee.joined()) == len(peers))
        task_status.started(network)
        while True:
            for frame in frames:
                network.committee.broadcast(frame, urgent=True)
            network.committee.broadcast(proposal, urgent=False)
            await trio.sleep(0.001)


async def made(cluster: Cluster) -> Any:
    """A well-formed block of nobody's turn."""
    founders = cluster.founders
    async with founders.open_chain(cluster.folder / "made") as chain:
        return await founders.build(chain, chain.tip.hash)


def is_banned_everywhere(cluster: Cluster, villain: Network) -> bool:
    return all(m.parts.network.host.is_banned(villain.peer) for m in cluster.members)


async def test_a_bug_that_a_transaction_reaches_leaves_blocks_empty_not_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = candidate_module.build_block

    def build_block(reader: Any, context: Any, waiting: Any) -> Any:
        if waiting:
            raise ZeroDivisionError("a bug of ours")
        return sound(reader, context, waiting)

    monkeypatch.setattr(candidate_module, "build_block", build_block)
    async with open_cluster(tmp_path, count=1, params=BRISK) as cluster:
        validator = await cluster.start_validator(0)
        await cluster.submit(ALICE, Transfer(BOB.address, Amount(1)), through=validator)
        await cluster.until_height(validator.height + 3)
        assert len(validator.parts.transactions.mempool) == 1


async def test_a_bug_that_a_proposal_reaches_costs_its_leader_a_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = candidate_module.execute_block

    def execute_block(reader: Any, context: Any, transactions: Any) -> Any:
        if transactions:
            raise ZeroDivisionError("a bug of ours")
        return sound(reader, context, transactions)

    monkeypatch.setattr(candidate_module, "execute_block", execute_block)
    async with open_cluster(tmp_path, params=BRISK) as cluster:
        for seat in range(4):
            await cluster.start_validator(seat)
        pay = Transfer(BOB.address, Amount(1))
        await cluster.submit(ALICE, pay, through=cluster.members[0])
        await trio.sleep(2)
        assert all(member.serving is not None for member in cluster.members), "all still run"
