"""Blobs as plain HTTP: `PUT /blob` and `GET /blob/<cid>`."""

from collections.abc import AsyncIterator
from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from p2p_aios.codec import schema
from p2p_aios.codec.cid import format_cid, parse_cid
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.bodies import JSON_TYPE, read_body, refuse, take
from p2p_aios.rpc.dispatch import write_json
from p2p_aios.rpc.gate import Gate
from p2p_aios.rpc.methods.blob import find_blob
from p2p_aios.rpc.registry import Service
from p2p_aios.types.views import BlobView
from p2p_aios.units import Cid

BLOB_S_MAX: Final = 120
"""Deadline for a blob to arrive, or to be found."""
BLOB_TRANSFERS_MAX: Final = 4
"""Blobs in memory at once."""
BLOB_PIECE_BYTES: Final = 1 << 18
BLOB_BYTES_PER_S_MIN: Final = 1 << 20
"""Who reads more slowly is cut off: others wait for the memory."""
BLOB_GRACE_S: Final = 10
"""For the smallest, too."""
BLOB_BYTES_PER_CALL: Final = 1 << 14
"""How much of one counts as a call."""


class BlobRoutes:
    """Handlers of the blob routes."""

    def __init__(self, service: Service, gate: Gate, bytes_max: int) -> None:
        self._service = service
        self._gate = gate
        self._bytes_max = bytes_max
        self._transfers = trio.CapacityLimiter(BLOB_TRANSFERS_MAX)

    async def put(self, request: Request) -> Response:
        """`PUT /blob`: the body is the blob; the answer is a BlobView."""
        try:
            if not self._gate.is_authorized(request.headers):
                raise Invalid("unauthorized", "PUT /blob needs the node's bearer token")
            self._gate.charge(request, 1)
            take(self._transfers)
            try:
                data = await read_body(request, self._bytes_max, BLOB_S_MAX)
                cid = await self._service.backend.put_blob(data)
            finally:
                self._transfers.release()
        except (Invalid, Unavailable) as fault:
            return refuse(fault)
        return Response(write_json(schema.to_json(BlobView(cid, len(data)))), media_type=JSON_TYPE)

    async def get(self, request: Request) -> Response:
        """`GET /blob/<cid>`: its bytes."""
        try:
            cid = parse_cid(request.path_params["cid"])
            self._gate.charge(request, 1)
            take(self._transfers)
            try:
                data = await self._find(cid)
            except BaseException:
                self._transfers.release()
                raise
        except (Invalid, Unavailable) as fault:
            return refuse(fault)
        self._gate.charge_afterwards(request, len(data) // BLOB_BYTES_PER_CALL)
        return _Sending(self._transfers, cid, data)

    async def _find(self, cid: Cid) -> bytes:
        with trio.move_on_after(BLOB_S_MAX):
            return await find_blob(self._service, cid)
        raise Unavailable("deadline_exceeded", "the blob was not found in time; try later")


class _Sending(StreamingResponse):
    """Gives `transfers` back once all is written, or the time for it is up."""

    def __init__(self, transfers: trio.CapacityLimiter, cid: Cid, data: bytes) -> None:
        # A CID names these bytes for ever; and no browser may take them for a page of this node.
        headers = {
            "content-length": str(len(data)),
            "cache-control": "public, max-age=31536000, immutable",
            "etag": f'"{format_cid(cid)}"',
            "x-content-type-options": "nosniff",
        }
        super().__init__(_pieces(data), 200, headers, "application/octet-stream")
        self._transfers = transfers
        self._seconds_max = BLOB_GRACE_S + len(data) / BLOB_BYTES_PER_S_MIN

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with trio.move_on_after(self._seconds_max):
                await super().__call__(scope, receive, send)
        finally:
            self._transfers.release()


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), BLOB_PIECE_BYTES):
        yield data[start : start + BLOB_PIECE_BYTES]
