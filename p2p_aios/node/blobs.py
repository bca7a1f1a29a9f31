"""Blobs as this node has them: its own store first, then whoever of its peers serves them."""

import logging
from typing import Final

import trio

from p2p_aios.codec.cid import format_cid, matches
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.network.node import Network
from p2p_aios.network.penalties import GARBAGE
from p2p_aios.node.chain import Chain
from p2p_aios.node.turns import Turns
from p2p_aios.storage.blobs import BlobStore
from p2p_aios.types.request import (
    BLOB_BYTES_MAX,
    CHUNK_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    BlobChunk,
    GetBlob,
    Refused,
    decode_response,
    encode_request,
)
from p2p_aios.units import Cid, Height

CHUNK_S_MAX: Final = 10.0
"""Time a peer has for one chunk."""
FETCH_ROUNDS: Final = 6
"""How often all peers are asked before a blob counts as absent."""
PAUSE_S: Final = 0.3
"""Between two rounds: a revealed blob may reach its home node a moment after its transaction."""

log = logging.getLogger(__name__)


class Blobs:
    """Local blobs, and the ones of peers."""

    def __init__(self, chain: Chain, store: BlobStore, network: Network) -> None:
        self._chain = chain
        self.store = store
        self._network = network
        self._fetching: Turns[Cid] = Turns()

    async def put(self, data: bytes) -> Cid:
        """Keep `data` for a challenge window.

        Raises Invalid(`blob_too_large`), Unavailable(`storage_full`, `storage_failed`).
        """
        return await trio.to_thread.run_sync(self._put, data, None)

    async def fetch(
        self, cid: Cid, bytes_max: int = BLOB_BYTES_MAX, rounds: int = FETCH_ROUNDS
    ) -> bytes:
        """From our store, or pulled from a peer and then kept.

        Raises Unavailable: `blob_absent`, `blob_too_large` (ours has more than `bytes_max`).
        """
        async with self._fetching.take(cid):
            size = self.store.size(cid)
            if size is not None and size > bytes_max:
                raise _too_large(size, bytes_max)
            found = await trio.to_thread.run_sync(self._get, cid)
            return found if found is not None else await self._pull(cid, bytes_max, rounds)

    async def hold(self, cid: Cid, bytes_max: int = BLOB_BYTES_MAX) -> int:
        """Have it here for another challenge window, without its bytes in memory; its size.

        Raises Unavailable as `fetch`, and `storage_failed`.
        """
        size = self.store.size(cid)
        if size is None:
            return len(await self.fetch(cid, bytes_max))
        if size > bytes_max:
            raise _too_large(size, bytes_max)
        await trio.to_thread.run_sync(self.store.pin, cid, self._needed_until())
        return size

    async def find(self, cid: Cid) -> bytes | None:
        """As `fetch`, but peers are asked once; None where there is none. For clients, who may
        ask for anything."""
        try:
            return await self.fetch(cid, rounds=1)
        except Unavailable:
            return None

    async def _pull(self, cid: Cid, bytes_max: int, rounds: int) -> bytes:
        for attempt in range(rounds):
            if attempt:
                await trio.sleep(PAUSE_S)
            for connection in self._network.peers.connected():
                try:
                    data = await self._pull_from(connection.peer, cid, bytes_max)
                except (Invalid, Unavailable) as error:
                    log.debug("blob %s: %s", format_cid(cid), error)
                    continue
                await self._cache(cid, data)
                return data
        raise Unavailable("blob_absent", f"no peer serves {format_cid(cid)}")

    async def _cache(self, cid: Cid, data: bytes) -> None:
        try:
            await trio.to_thread.run_sync(self._put, data, cid)
        except Unavailable as error:
            # It is here and can be used, whether or not there is room to keep it.
            log.warning("blob %s is not kept: %s", format_cid(cid), error)

    async def _pull_from(self, peer: bytes, cid: Cid, bytes_max: int) -> bytes:
        """Raises Unavailable where it has none, Invalid where it lies."""
        most = min(bytes_max, self._chain.params.blob_bytes_max)
        data = bytearray()
        while True:
            answer = await self._network.requests.request(
                peer,
                encode_request(GetBlob(cid, len(data))),
                deadline_s=CHUNK_S_MAX,
                bytes_max=RESPONSE_BYTES_MAX,
            )
            chunk = decode_response(answer)
            if isinstance(chunk, Refused):
                raise Unavailable(chunk.code, chunk.message)
            if isinstance(chunk, BlobChunk) and chunk.size > most:
                raise _too_large(chunk.size, most)
            if not isinstance(chunk, BlobChunk) or not _is_next(chunk, len(data)):
                raise self._blame(peer, "answer_malformed", "the answer is not the chunk asked for")
            data += chunk.data
            if len(data) == chunk.size:
                break
        whole = bytes(data)
        if not await trio.to_thread.run_sync(matches, cid, whole):
            raise self._blame(peer, "blob_mismatch", "the bytes served are not what the CID names")
        return whole

    def _blame(self, peer: bytes, code: str, message: str) -> Invalid:
        self._network.host.penalize(peer, GARBAGE, code)
        return Invalid(code, message)

    def _put(self, data: bytes, expected: Cid | None) -> Cid:
        return self.store.put(data, expected=expected, until=self._needed_until())

    def _get(self, cid: Cid) -> bytes | None:
        data = self.store.get(cid)
        if data is not None:
            # Whatever is in use stays for another challenge window.
            self.store.pin(cid, self._needed_until())
        return data

    def _needed_until(self) -> Height:
        return Height(self._chain.tip.height + self._chain.params.challenge_blocks)


def _too_large(size: int, bytes_max: int) -> Unavailable:
    return Unavailable("blob_too_large", f"{size} bytes, where at most {bytes_max} are wanted")


def _is_next(chunk: BlobChunk, offset: int) -> bool:
    """Whether it is the whole chunk at `offset`: whoever gave less could do so for ever."""
    expected = min(CHUNK_BYTES_MAX, chunk.size - offset)
    return chunk.offset == offset and len(chunk.data) == expected
