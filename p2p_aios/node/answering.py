"""What this node answers its peers: where it stands, finalized blocks, blobs."""

from collections.abc import Iterator

import trio

from p2p_aios.codec import schema
from p2p_aios.codec.cid import format_cid
from p2p_aios.errors import Unavailable
from p2p_aios.node.chain import Chain
from p2p_aios.storage.blobs import BlobStore
from p2p_aios.types.block import BLOCK_BYTES_MAX, Block, FinalizedBlock
from p2p_aios.types.request import (
    CHUNK_BYTES_MAX,
    BlobChunk,
    BlobSize,
    Blocks,
    GetBlob,
    GetBlocks,
    GetStatus,
    HasBlob,
    Response,
    Status,
    blocks_that_fit,
    decode_request,
    encode_response,
)
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Cid


class Answering:
    """The answering side of the request protocol."""

    def __init__(self, chain: Chain, blobs: BlobStore) -> None:
        self._chain = chain
        self._blobs = blobs

    async def answer(self, peer: bytes, payload: bytes) -> bytes:
        """Answer one request. Raises Invalid for a malformed one, Unavailable(`blob_absent`)."""
        del peer  # everything served here is public
        match decode_request(payload):
            case GetStatus():
                return encode_response(self._status())
            case GetBlocks() as request:
                response: Response = await trio.to_thread.run_sync(self._blocks, request)
            case GetBlob() as request:
                response = await trio.to_thread.run_sync(self._chunk, request)
            case HasBlob(cid=cid):
                response = BlobSize(await trio.to_thread.run_sync(self._size, cid))
        return encode_response(response)

    def _status(self) -> Status:
        tip = self._chain.tip
        return Status(tip.height, tip.hash, tip.epoch)

    def _blocks(self, request: GetBlocks) -> Blocks:
        return blocks_that_fit(self._stored(request), request.count)

    def _stored(self, request: GetBlocks) -> Iterator[FinalizedBlock]:
        if request.start == 0:  # genesis is no block: whoever asks has it
            return
        with self._chain.snapshot() as snapshot:
            for height, block, certificate in snapshot.blocks(request.start):
                if height >= request.start + request.count:
                    return
                yield FinalizedBlock(
                    schema.decode(Block, block, BLOCK_BYTES_MAX),
                    None if certificate is None else schema.decode(Certificate, certificate),
                )

    def _chunk(self, request: GetBlob) -> BlobChunk:
        size = self._size(request.cid)
        data = self._blobs.read(request.cid, request.offset, CHUNK_BYTES_MAX)
        if data is None:
            raise _absent(request.cid)
        return BlobChunk(size, request.offset, data)

    def _size(self, cid: Cid) -> int:
        size = self._blobs.size(cid)
        if size is None:
            raise _absent(cid)
        return size


def _absent(cid: Cid) -> Unavailable:
    return Unavailable("blob_absent", f"this node does not hold {format_cid(cid)}")
