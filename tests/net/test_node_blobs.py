"""Blobs from peers: pulled whole, checked, kept if there is room, and never from a liar twice."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from p2p_aios.codec.cid import cid_of
from p2p_aios.errors import Unavailable
from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.node import Network, open_network
from p2p_aios.node import pulling
from p2p_aios.node.answering import Answering
from p2p_aios.node.blobs import Blobs
from p2p_aios.storage.blobs import BlobStore
from p2p_aios.types.request import BlobChunk, GetBlob, decode_request, encode_response
from p2p_aios.units import Height
from tests.node.founders import Founders

FOUNDERS = Founders()
DATA = bytes(range(256)) * 9000
"""Three chunks."""
QUOTA = 8 << 20


@dataclass
class Scene:
    blobs: Blobs
    store: BlobStore
    """Ours."""
    theirs: BlobStore
    own: Network
    peer: Network

    def is_banned(self) -> bool:
        return self.own.host.is_banned(self.peer.peer)


@asynccontextmanager
async def open_scene(folder: Path) -> AsyncIterator[Scene]:
    store, theirs = BlobStore(folder / "ours", QUOTA), BlobStore(folder / "theirs")
    chain_id = FOUNDERS.chain_id
    async with (
        FOUNDERS.open_chain(folder / "chain") as chain,
        open_network(NetworkConfig(b"\x09" * 32, chain_id)) as own,
        open_network(NetworkConfig(b"\x08" * 32, chain_id, peers=own.addresses[:1])) as peer,
    ):
        peer.requests.serve(Answering(chain, theirs).answer)
        with trio.fail_after(20):
            await own.host.wait_connected(peer.peer)
        yield Scene(Blobs(chain, store, own), store, theirs, own, peer)
    store.close()
    theirs.close()


async def test_what_a_peer_holds_is_pulled_once_and_pinned(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        cid = scene.theirs.put(DATA)
        found: list[bytes] = []

        async def fetch() -> None:
            found.append(await scene.blobs.fetch(cid))

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(fetch)
        assert found == [DATA] * 4
        assert scene.store.get(cid) == DATA
        assert scene.store.pinned_until(cid) == Height(FOUNDERS.params.challenge_blocks)
        assert len(scene.blobs._fetching) == 0, "nothing is remembered of fetches that are over"


async def test_what_nobody_holds_is_absent(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        begun = trio.current_time()
        assert await scene.blobs.find(cid_of(b"nowhere")) is None
        assert trio.current_time() - begun < 1.0, "clients are not kept waiting"
        with pytest.raises(Unavailable, match="blob_absent"):
            await scene.blobs.fetch(cid_of(b"nowhere"))


async def test_one_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene, trio.open_nursery() as nursery:

        async def put_late() -> None:
            await trio.sleep(0.5)
            scene.theirs.put(DATA)

        nursery.start_soon(put_late)
        assert await scene.blobs.fetch(cid_of(DATA)) == DATA


async def test_larger_than_wanted_is_not_pulled(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        cid = scene.theirs.put(DATA)
        with pytest.raises(Unavailable, match="blob_absent"):
            await scene.blobs.fetch(cid, len(DATA) - 1)
        assert not scene.is_banned()
        assert await scene.blobs.fetch(cid, len(DATA)) == DATA
        with pytest.raises(Unavailable, match="blob_too_large"):
            await scene.blobs.fetch(cid, len(DATA) - 1)


async def test_a_full_store_keeps_nothing_but_serves(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.store.put(bytes(QUOTA - 100))
        cid = scene.theirs.put(DATA)
        assert await scene.blobs.fetch(cid) == DATA
        assert not scene.store.has(cid)


async def test_who_stalls_costs_one_wait_and_is_then_asked_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each chunk in time, the whole never: a round's window would pass."""
    monkeypatch.setattr(pulling, "CHUNK_S_MAX", 1.0)
    monkeypatch.setattr(pulling, "BYTES_PER_S_MIN", 100 << 20)
    async with open_scene(tmp_path) as scene:
        cids = [scene.theirs.put(DATA + bytes([n])) for n in range(2)]
        answer = Answering(scene.blobs._chain, scene.theirs).answer

        async def answer_slowly(peer: bytes, payload: bytes) -> bytes:
            await trio.sleep(0.6)
            return await answer(peer, payload)

        async with open_network(
            NetworkConfig(b"\x07" * 32, FOUNDERS.chain_id, peers=scene.own.addresses[:1])
        ) as staller:
            staller.requests.serve(answer_slowly)
            with trio.fail_after(20):
                await scene.own.host.wait_connected(staller.peer)
            scene.own.host.set_known("test", frozenset({staller.peer}))
            for cid, least_s, most_s in ((cids[0], 0.9, 5.0), (cids[1], 0.0, 0.55)):
                begun_s = trio.current_time()
                assert await scene.blobs.fetch(cid) == scene.theirs.get(cid)
                assert least_s < trio.current_time() - begun_s < most_s
            assert not scene.own.host.is_banned(staller.peer)


async def test_what_clients_ask_for_leaves_room_for_duties(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        cids = [scene.theirs.put(bytes([n]) * (1 << 20)) for n in range(4)]
        for cid in cids:
            assert await scene.blobs.find(cid) == scene.theirs.get(cid)
        assert scene.store.bytes_held == 1 << 20
        for cid in cids:
            await scene.blobs.fetch(cid)
        assert scene.store.bytes_held == 4 << 20


Lie = Callable[[GetBlob], BlobChunk]
LIES: dict[str, Lie] = {
    "other_bytes": lambda ask: BlobChunk(4, ask.offset, b"evil"[ask.offset :]),
    "other_offset": lambda _: BlobChunk(len(DATA), 7, b"evil"),
    "byte_by_byte": lambda ask: BlobChunk(len(DATA), ask.offset, DATA[ask.offset : ask.offset + 1]),
    "cut_short": lambda ask: BlobChunk(len(DATA), ask.offset, b""),
}


@pytest.mark.parametrize("lie", sorted(LIES))
async def test_a_liar_is_banned_and_believed_by_nobody(tmp_path: Path, lie: str) -> None:
    async with open_scene(tmp_path) as scene:
        scene.peer.requests.serve(answer_with(LIES[lie]))
        assert await scene.blobs.find(cid_of(DATA)) is None
        assert scene.is_banned()
        assert len(scene.store) == 0


async def test_a_claim_beyond_any_blob_ends_the_pull(tmp_path: Path) -> None:
    async with open_scene(tmp_path) as scene:
        scene.peer.requests.serve(answer_with(lambda ask: BlobChunk(64 << 20, ask.offset, b"x")))
        with trio.fail_after(10):
            with pytest.raises(Unavailable, match="blob_absent"):
                await scene.blobs.fetch(cid_of(DATA), 1 << 20)


def answer_with(lie: Lie) -> Callable[[bytes, bytes], Awaitable[bytes]]:
    async def answer(_peer: bytes, payload: bytes) -> bytes:
        request = decode_request(payload)
        assert isinstance(request, GetBlob)
        return encode_response(lie(request))

    return answer
