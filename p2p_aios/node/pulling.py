"""Blobs pulled from peers, chunk by chunk: who is asked first, and for how long.

Any peer may claim to hold a blob and then take its time, while a round's window runs out. So those
whom we know (configured, or of the committee) are asked before strangers, of strangers only a few,
whoever was too slow comes last for a while, and a pull has a time that grows with the blob.
"""

import logging
import random
from typing import Final

import trio

from p2p_aios.codec.cid import format_cid, matches
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.network.node import Network
from p2p_aios.network.penalties import GARBAGE
from p2p_aios.types.request import (
    CHUNK_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    BlobChunk,
    GetBlob,
    Refused,
    decode_response,
    encode_request,
)
from p2p_aios.units import Cid

CHUNK_S_MAX: Final = 10.0
"""Time a peer has for the first chunk."""
BYTES_PER_S_MIN: Final = 1 << 20
"""A blob's further chunks come at least this fast."""
PAUSE_S: Final = 0.3
"""Between two rounds: a revealed blob may reach its home node a moment after its transaction."""
STRANGERS_MAX: Final = 16
"""Peers asked in one round that we do not know; others the next time."""
SLOW_S: Final = 60.0
"""How long whoever was too slow is asked last."""
SLOW_MAX: Final = 256
"""Peers remembered as slow."""

log = logging.getLogger(__name__)


class Puller:
    """Pulls blobs of at most `blob_bytes_max` from the peers of a network."""

    def __init__(self, network: Network, blob_bytes_max: int) -> None:
        self._network = network
        self._blob_bytes_max = blob_bytes_max
        self._slow_until_s: dict[bytes, float] = {}

    async def pull(self, cid: Cid, bytes_max: int, rounds: int) -> bytes:
        """Its bytes, checked. Raises Unavailable(`blob_absent`)."""
        for attempt in range(rounds):
            if attempt:
                await trio.sleep(PAUSE_S)
            for peer in self._peers():
                try:
                    return await self._pull_from(peer, cid, min(bytes_max, self._blob_bytes_max))
                except (Invalid, Unavailable) as error:
                    log.debug("blob %s: %s", format_cid(cid), error)
        raise Unavailable("blob_absent", f"no peer serves {format_cid(cid)}")

    def _peers(self) -> list[bytes]:
        """Whom to ask, in this order."""
        now_s = trio.current_time()
        peers = [connection.peer for connection in self._network.peers.connected()]
        known = [peer for peer in peers if self._network.host.is_known(peer)]
        strangers = [peer for peer in peers if not self._network.host.is_known(peer)]
        chosen = random.sample(strangers, min(STRANGERS_MAX, len(strangers)))
        return sorted(known + chosen, key=lambda peer: self._slow_until_s.get(peer, 0.0) > now_s)

    async def _pull_from(self, peer: bytes, cid: Cid, bytes_max: int) -> bytes:
        """Raises Unavailable where it has none or is too slow, Invalid where it lies."""
        with trio.move_on_after(CHUNK_S_MAX) as patience:
            data = await self._pull_chunks(peer, cid, bytes_max, patience)
            if not await trio.to_thread.run_sync(matches, cid, data):
                raise self._blame(peer, "blob_mismatch", "the bytes are not what the CID names")
            return data
        self._slow_until_s.pop(peer, None)
        self._slow_until_s[peer] = trio.current_time() + SLOW_S
        if len(self._slow_until_s) > SLOW_MAX:
            del self._slow_until_s[next(iter(self._slow_until_s))]
        raise Unavailable("request_timed_out", "the peer was too slow")

    async def _pull_chunks(
        self, peer: bytes, cid: Cid, bytes_max: int, patience: trio.CancelScope
    ) -> bytes:
        data = bytearray()
        while True:
            answer = await self._network.requests.request(
                peer,
                encode_request(GetBlob(cid, len(data))),
                # Ours ends first, and knows what the peer was slow at.
                deadline_s=2 * CHUNK_S_MAX,
                bytes_max=RESPONSE_BYTES_MAX,
            )
            chunk = decode_response(answer)
            if isinstance(chunk, Refused):
                raise Unavailable(chunk.code, chunk.message)
            if isinstance(chunk, BlobChunk) and chunk.size > bytes_max:
                raise Unavailable("blob_too_large", f"{chunk.size} bytes, not {bytes_max}")
            if not isinstance(chunk, BlobChunk) or not _is_next(chunk, len(data)):
                raise self._blame(peer, "answer_malformed", "the answer is not the chunk asked for")
            if not data:
                patience.deadline += chunk.size / BYTES_PER_S_MIN
            data += chunk.data
            if len(data) == chunk.size:
                return bytes(data)

    def _blame(self, peer: bytes, code: str, message: str) -> Invalid:
        self._network.host.penalize(peer, GARBAGE, code)
        return Invalid(code, message)


def _is_next(chunk: BlobChunk, offset: int) -> bool:
    """Whether it is the whole chunk at `offset`: whoever gave less could do so for ever."""
    expected = min(CHUNK_BYTES_MAX, chunk.size - offset)
    return chunk.offset == offset and len(chunk.data) == expected
