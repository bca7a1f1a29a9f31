"""What a node answers its peers, and refuses them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from p2p_aios.codec.cid import cid_of
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.node.answering import Answering
from p2p_aios.node.chain import Chain
from p2p_aios.storage.blobs import BlobStore
from p2p_aios.sync.answers import check_answer
from p2p_aios.types.request import (
    CHUNK_BYTES_MAX,
    RANGE_BLOCKS_MAX,
    BlobChunk,
    BlobSize,
    Blocks,
    GetBlob,
    GetBlocks,
    GetStatus,
    HasBlob,
    Request,
    Response,
    Status,
    decode_response,
    encode_request,
)
from p2p_aios.units import UINT64_MAX, Height
from tests.node.founders import Founders

FOUNDERS = Founders()
PEER = b"anybody"


@asynccontextmanager
async def open_answering(folder: Path) -> AsyncIterator[tuple[Chain, BlobStore, Answering]]:
    store = BlobStore(folder / "blobs")
    async with FOUNDERS.open_chain(folder / "chain") as chain:
        yield chain, store, Answering(chain, store)
    store.close()


async def ask(answering: Answering, request: Request) -> Response:
    return decode_response(await answering.answer(PEER, encode_request(request)))


async def test_it_tells_where_it_stands(tmp_path: Path) -> None:
    async with open_answering(tmp_path) as (chain, _, answering):
        assert await ask(answering, GetStatus()) == Status(Height(0), chain.chain_id, 0)
        await FOUNDERS.history(chain, 9)
        assert await ask(answering, GetStatus()) == Status(Height(9), chain.tip.hash, 1)


async def test_it_serves_ranges_that_hold(tmp_path: Path) -> None:
    async with open_answering(tmp_path) as (chain, _, answering):
        history = await FOUNDERS.history(chain, RANGE_BLOCKS_MAX + 3)
        request = GetBlocks(Height(2), RANGE_BLOCKS_MAX)
        answer = await ask(answering, request)
        assert isinstance(answer, Blocks)
        assert list(answer.blocks) == history[1 : 1 + RANGE_BLOCKS_MAX]
        check_answer(request, answer.blocks)
        last = await ask(answering, GetBlocks(chain.tip.height, 5))
        assert last == Blocks((history[-1],))


@pytest.mark.parametrize("start", [0, 4, 10**6, UINT64_MAX])
async def test_it_has_nothing_beyond_its_tip_and_no_block_at_genesis(
    tmp_path: Path, start: int
) -> None:
    async with open_answering(tmp_path) as (chain, _, answering):
        await FOUNDERS.history(chain, 3)
        assert await ask(answering, GetBlocks(Height(start), RANGE_BLOCKS_MAX)) == Blocks(())


async def test_it_serves_blobs_in_chunks(tmp_path: Path) -> None:
    async with open_answering(tmp_path) as (_, store, answering):
        data = bytes(range(256)) * 5000
        cid = store.put(data)
        assert await ask(answering, HasBlob(cid)) == BlobSize(len(data))
        first = await ask(answering, GetBlob(cid, 0))
        assert first == BlobChunk(len(data), 0, data[:CHUNK_BYTES_MAX])
        second = await ask(answering, GetBlob(cid, CHUNK_BYTES_MAX))
        assert second == BlobChunk(len(data), CHUNK_BYTES_MAX, data[CHUNK_BYTES_MAX:])
        assert await ask(answering, GetBlob(cid, 64 << 20)) == BlobChunk(len(data), 64 << 20, b"")


async def test_what_it_does_not_hold_is_absent(tmp_path: Path) -> None:
    async with open_answering(tmp_path) as (_, _, answering):
        for request in (GetBlob(cid_of(b"x"), 0), HasBlob(cid_of(b"x"))):
            with pytest.raises(Unavailable, match="blob_absent"):
                await ask(answering, request)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x00",
        b"\x81\x18\x63",
        b"\xff" * 256,
        encode_request(GetStatus()) + b"\x00",
        b"a" * 300,
    ],
)
async def test_what_is_no_request_is_invalid(tmp_path: Path, payload: bytes) -> None:
    async with open_answering(tmp_path) as (_, _, answering):
        with pytest.raises(Invalid):
            await answering.answer(PEER, payload)
