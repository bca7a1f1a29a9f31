"""A node without a seat among liars: it follows only what the committee made final."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import trio

from p2p_aios.codec import schema
from p2p_aios.errors import Unavailable
from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.gossip import Topic
from p2p_aios.network.node import Network, open_network
from p2p_aios.node.answering import Answering
from p2p_aios.node.chain import Chain
from p2p_aios.storage.blobs import BlobStore
from p2p_aios.types.block import Block, FinalizedBlock
from p2p_aios.types.request import Blocks, GetBlocks, decode_request, encode_response
from p2p_aios.types.transaction import Transfer
from p2p_aios.types.vote import VoteKind
from p2p_aios.units import Amount
from tests.net.node_cluster import Cluster, Member, open_cluster
from tests.node.founders import ALICE, BOB, PARAMS

Answer = Callable[[bytes, bytes], Awaitable[bytes]]


@dataclass
class Scene:
    """A real chain made by its founders, an observer that has none of it, and a peer to lie."""

    cluster: Cluster
    chain: Chain
    observer: Member
    peer: Network
    honest: Answer

    async def publish(self, *blocks: FinalizedBlock) -> None:
        for final in blocks:
            await self.peer.gossip.publish(Topic.BLOCKS, schema.encode(final))

    def is_banned(self) -> bool:
        return bool(self.observer.parts.network.host.is_banned(self.peer.peer))


@asynccontextmanager
async def open_scene(folder: Path) -> AsyncIterator[Scene]:
    async with open_cluster(folder, params=PARAMS) as cluster:
        founders = cluster.founders
        async with founders.open_chain(folder / "made") as chain:
            observer = await cluster.start_observer()
            address = observer.parts.network.addresses[0]
            config = NetworkConfig(b"\x07" * 32, founders.chain_id, peers=(address,))
            blobs = BlobStore(folder / "blobs")
            async with open_network(config) as peer:
                peer.requests.serve(Answering(chain, blobs).answer)
                await cluster.until(
                    lambda: (
                        observer.parts.network.peer
                        in {p.to_bytes() for p in peer.gossip._pubsub.peers}
                    )
                )
                await trio.sleep(0.3)  # subscriptions are told after the streams stand
                yield Scene(cluster, chain, observer, peer, Answering(chain, blobs).answer)
            blobs.close()


async def test_it_follows_final_blocks_by_gossip(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.peer.requests.serve(refuse)
        founders = scene.cluster.founders
        for _ in range(2 * PARAMS.epoch_blocks + 2):
            pay = founders.transaction(scene.chain, ALICE, Transfer(BOB.address, Amount(1)))
            await scene.publish(await founders.extend(scene.chain, pay))
            await scene.cluster.until_height(scene.chain.tip.height, within_s=10)
        assert scene.observer.parts.chain.tip == scene.chain.tip


async def test_a_block_that_is_only_notarized_is_not_final(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.peer.requests.serve(refuse)
        candidate = await scene.cluster.founders.build(scene.chain, scene.chain.tip.hash)
        notarization = scene.cluster.founders.certify(scene.chain, candidate, VoteKind.NOTARIZE)
        await scene.publish(FinalizedBlock(candidate.block, notarization))
        await trio.sleep(1)
        assert scene.observer.height == 0


async def test_a_body_that_is_not_the_blocks_own_neither_enters_nor_ends_the_node(
    tmp_path: Path,
) -> None:
    async with open_scene(tmp_path) as scene:
        scene.peer.requests.serve(refuse)
        final = await scene.cluster.founders.extend(scene.chain)
        altered = FinalizedBlock(Block(final.block.header, (b"\x01",)), final.certificate)
        await scene.publish(altered)
        await trio.sleep(0.5)
        assert scene.observer.height == 0
        await scene.publish(final)
        await scene.cluster.until_height(1, within_s=10)


async def test_a_certificate_that_cannot_be_checked_yet_moves_nothing(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.peer.requests.serve(refuse)
        history = await scene.cluster.founders.history(scene.chain, 3 * PARAMS.epoch_blocks)
        await scene.publish(history[-1])
        await trio.sleep(0.5)
        assert scene.observer.height == 0
        assert set(scene.observer.parts.catchup.heights.values()) <= {0}, "nothing is believed"


async def test_it_catches_up_over_epochs_from_one_peer(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        await scene.cluster.founders.history(scene.chain, 100)
        await scene.cluster.until_height(100, within_s=60)
        assert scene.observer.parts.chain.tip == scene.chain.tip
        await scene.publish(await scene.cluster.founders.extend(scene.chain))
        await scene.cluster.until_height(101, within_s=10)


@pytest.mark.parametrize("lie", ["certificate", "body"])
async def test_a_lying_answer_is_found_out_and_the_liar_banned(tmp_path: Path, lie: str) -> None:
    async with open_scene(tmp_path) as scene:

        async def answer(peer: bytes, payload: bytes) -> bytes:
            truth = await scene.honest(peer, payload)
            request = decode_request(payload)
            if not isinstance(request, GetBlocks):
                return truth
            served = scene.chain.store.read_blocks(request.start, request.count, 1 << 20)
            blocks = [schema.decode(Block, raw) for _, raw, _ in served]
            return encode_response(Blocks(tuple(falsify(block) for block in blocks)))

        def falsify(block: Block) -> FinalizedBlock:
            if lie == "body":
                return FinalizedBlock(Block(block.header, (b"\x01",)), None)
            return FinalizedBlock(block, replace(true[block.header.height - 1], seats=(0, 1, 2, 3)))

        history = await scene.cluster.founders.history(scene.chain, 5)
        true = [each.certificate for each in reversed(history)]
        scene.peer.requests.serve(answer)
        await scene.cluster.until(scene.is_banned)
        assert scene.observer.height == 0


async def test_many_copies_of_a_good_block_are_heard_once(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.peer.requests.serve(refuse)
        final = await scene.cluster.founders.extend(scene.chain)
        await scene.publish(*[final] * 300)
        await scene.cluster.until_height(1, within_s=20)
        await scene.publish(await scene.cluster.founders.extend(scene.chain))
        await scene.cluster.until_height(2, within_s=20)
        assert not scene.is_banned()


async def refuse(peer: bytes, payload: bytes) -> bytes:
    """Serve nothing, so that gossip is the only way."""
    raise Unavailable("not_serving", f"{len(payload)} bytes of {peer.hex()} are not answered")
