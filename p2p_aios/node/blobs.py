"""Blobs as this node has them: its own store first, then whoever of its peers serves them."""

import logging
from typing import Final

import trio

from p2p_aios.codec.cid import format_cid
from p2p_aios.errors import Unavailable
from p2p_aios.network.node import Network
from p2p_aios.node.chain import Chain
from p2p_aios.node.pulling import Puller
from p2p_aios.node.turns import Turns
from p2p_aios.storage.blobs import BlobStore
from p2p_aios.types.request import BLOB_BYTES_MAX
from p2p_aios.units import Cid, Height

FETCH_ROUNDS: Final = 6
"""How often all peers are asked before a blob counts as absent."""
CLIENTS_SHARE: Final = 4
"""What is pulled for clients is kept while less than one part in so many of the quota is used:
whoever may read from this node could else fill its store, and it would do no more duties."""

log = logging.getLogger(__name__)


class Blobs:
    """Local blobs, and the ones of peers."""

    def __init__(self, chain: Chain, store: BlobStore, network: Network) -> None:
        self._chain = chain
        self._network = network
        self.store = store
        self._puller = Puller(network, chain.params.blob_bytes_max)
        self._fetching: Turns[Cid] = Turns()

    async def put(self, data: bytes) -> Cid:
        """Keep `data` for a challenge window.

        Raises Invalid(`blob_too_large`), Unavailable(`storage_full`, `storage_failed`).
        """
        return await trio.to_thread.run_sync(self._put, data, None)

    async def fetch(self, cid: Cid, bytes_max: int = BLOB_BYTES_MAX) -> bytes:
        """From our store, or pulled from a peer and then kept.

        Raises Unavailable: `blob_absent`, `blob_too_large` (ours has more than `bytes_max`),
        `storage_failed`.
        """
        async with self._fetching.take(cid):
            found = await self._own(cid, bytes_max)
            if found is None:
                found = await self._puller.pull(cid, bytes_max, FETCH_ROUNDS)
                await self._keep(cid, found)
            return found

    async def find(self, cid: Cid) -> bytes | None:
        """As `fetch`, but peers are asked once; None where there is none. For clients, who may
        ask for anything."""
        try:
            async with self._fetching.take(cid):
                found = await self._own(cid, BLOB_BYTES_MAX)
                if found is None:
                    found = await self._puller.pull(cid, BLOB_BYTES_MAX, rounds=1)
                    if self.store.bytes_held + len(found) < self.store.quota_bytes // CLIENTS_SHARE:
                        await self._keep(cid, found)
                return found
        except Unavailable:
            return None

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

    def can_tell_absence(self) -> bool:
        """Whether what our peers do not serve may be called absent: only while more than two thirds
        of the committee, ourselves included, can be asked. After a restart nobody can at first."""
        others = self._network.committee.others
        reached = 1 + sum(map(self._network.host.is_connected, others))
        return 3 * reached > 2 * (1 + len(others))

    async def _own(self, cid: Cid, bytes_max: int) -> bytes | None:
        size = self.store.size(cid)
        if size is not None and size > bytes_max:
            raise _too_large(size, bytes_max)
        return await trio.to_thread.run_sync(self._get, cid)

    async def _keep(self, cid: Cid, data: bytes) -> None:
        try:
            await trio.to_thread.run_sync(self._put, data, cid)
        except Unavailable as error:
            # It is here and can be used, whether or not there is room to keep it.
            log.warning("blob %s is not kept: %s", format_cid(cid), error)

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
