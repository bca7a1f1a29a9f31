"""`blob.*`: small blobs inside JSON. Larger ones: `PUT /blob` and `GET /blob/<cid>`."""

import base64
import binascii
from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.limits import Size
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.registry import Service, method
from p2p_aios.units import Cid

SMALL_BLOB_BYTES_MAX: Final = 512 * 1024
"""Largest blob that travels inside JSON."""
Base64Text = Annotated[str, Size(0, SMALL_BLOB_BYTES_MAX * 4 // 3 + 4)]


@dataclass(frozen=True, slots=True)
class PutBlob:
    data: Base64Text


@dataclass(frozen=True, slots=True)
class NameBlob:
    cid: Cid


@method("blob.put", PutBlob, Cid, changes_state=True)
async def put_blob(service: Service, asked: PutBlob) -> Cid:
    """Store base64 data; its CID."""
    try:
        data = base64.b64decode(asked.data.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Invalid("base64_malformed", "data is base64 (RFC 4648 §4), padded") from None
    if len(data) > SMALL_BLOB_BYTES_MAX:
        raise Invalid("blob_too_large", "send it as the body of PUT /blob instead")
    return await service.backend.put_blob(data)


@method("blob.get", NameBlob, Base64Text)
async def get_blob(service: Service, asked: NameBlob) -> str:
    """A small blob in base64."""
    data = await find_blob(service, asked.cid)
    if len(data) > SMALL_BLOB_BYTES_MAX:
        raise Invalid("blob_too_large", "fetch it with GET /blob/<cid> instead", bytes=len(data))
    return base64.b64encode(data).decode("ascii")


@method("blob.has", NameBlob, bool)
async def has_blob(service: Service, asked: NameBlob) -> bool:
    """Whether this node itself holds a blob."""
    return await service.backend.has_blob(asked.cid)


async def find_blob(service: Service, cid: Cid) -> bytes:
    """Raises Unavailable(`blob_unavailable`)."""
    data = await service.backend.get_blob(cid)
    if data is None:
        raise Unavailable("blob_unavailable", "neither this node nor its peers had it; try later")
    return data


METHODS: Final = (put_blob, get_blob, has_blob)
