"""Calls about blobs, whose CIDs are their proof."""

from typing import Final

from p2p_aios.codec.cid import cid_of, format_cid, matches
from p2p_aios.errors import Invalid
from p2p_aios.sdk.answers import read_answer
from p2p_aios.sdk.asking import Asking
from p2p_aios.types.views import BlobView
from p2p_aios.units import Cid

BLOB_BYTES_MAX: Final = 64 << 20


class BlobCalls(Asking):
    """`PUT /blob`, `GET /blob/<cid>` and `blob.has`."""

    async def put_blob(self, data: bytes) -> Cid:
        """Store a blob of up to 64 MiB; raises Invalid(`blob_mismatch`) if the node garbles it."""
        view = read_answer(BlobView, await self._nodes.put_blob(data))
        expected = cid_of(data)
        if view.cid != expected:
            raise Invalid("blob_mismatch", f"the node names {format_cid(expected)} differently")
        return expected

    async def get_blob(self, cid: Cid, bytes_max: int = BLOB_BYTES_MAX) -> bytes:
        """Bytes that `cid` names, checked; raises Invalid(`blob_mismatch`)."""
        data = await self._nodes.get_blob(format_cid(cid), bytes_max)
        if not matches(cid, data):
            raise Invalid("blob_mismatch", f"the node's bytes are not those of {format_cid(cid)}")
        return data

    async def has_blob(self, cid: Cid) -> bool:
        """Whether the node itself holds it."""
        return await self._ask(bool, "blob.has", cid=format_cid(cid))
