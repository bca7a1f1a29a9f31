"""What nodes ask of each other on a stream of their own: one request, one response.

Catch-up asks for ranges of finalized blocks, storage for blobs by CID. Either message fits one
frame of `RESPONSE_BYTES_MAX`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Range, Size, Variants
from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.event import Code
from p2p_aios.units import Cid, Epoch, Hash, Height

REQUEST_BYTES_MAX: Final = 256
"""Largest encoded request."""
RESPONSE_BYTES_MAX: Final = 1 << 20
"""Largest encoded response."""
RANGE_BLOCKS_MAX: Final = 64
"""Most blocks in one response."""
BLOB_BYTES_MAX: Final = 64 << 20
"""Decoder's bound on a blob; the protocol's own is `Params.blob_bytes_max`."""
CHUNK_BYTES_MAX: Final = RESPONSE_BYTES_MAX - 256
"""Most bytes of a blob in one response, so that the response fits a frame."""
_ENVELOPE_BYTES: Final = 16
"""More than the tag and lengths around a response's blocks take."""


@dataclass(frozen=True, slots=True)
class GetStatus:
    """Where does your chain stand? Answered by Status."""


@dataclass(frozen=True, slots=True)
class GetBlocks:
    """Finalized blocks from `start` upward. Answered by Blocks."""

    start: Height
    count: Annotated[int, Range(1, RANGE_BLOCKS_MAX)]


@dataclass(frozen=True, slots=True)
class GetBlob:
    """A blob's bytes from `offset` on. Answered by BlobChunk, or Refused(`blob_absent`)."""

    cid: Cid
    offset: Annotated[int, Range(0, BLOB_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class HasBlob:
    """Do you hold it? Answered by BlobSize, or Refused(`blob_absent`)."""

    cid: Cid


Request = Annotated[
    GetStatus | GetBlocks | GetBlob | HasBlob,
    Variants({1: GetStatus, 2: GetBlocks, 3: GetBlob, 4: HasBlob}),
]


@dataclass(frozen=True, slots=True)
class Status:
    """The sender's last finalized block."""

    height: Height
    hash: Hash
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class Blocks:
    """The asked range or a beginning of it: as much as fits, ending if it can at a block with a
    certificate. Empty where the sender does not have the first block."""

    blocks: Annotated[tuple[FinalizedBlock, ...], Size(0, RANGE_BLOCKS_MAX)]


@dataclass(frozen=True, slots=True)
class BlobChunk:
    """Bytes of a blob; the receiver hashes the whole once it has them all."""

    size: Annotated[int, Range(0, BLOB_BYTES_MAX)]
    """Of the whole blob, in bytes."""
    offset: Annotated[int, Range(0, BLOB_BYTES_MAX)]
    data: Annotated[bytes, Size(0, CHUNK_BYTES_MAX)]
    """Empty only at the end of the blob."""


@dataclass(frozen=True, slots=True)
class BlobSize:
    size: Annotated[int, Range(0, BLOB_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class Refused:
    """Not answered, and why."""

    code: Code
    message: Annotated[str, Size(0, 512)]


Response = Annotated[
    Status | Blocks | BlobChunk | BlobSize | Refused,
    Variants({1: Status, 2: Blocks, 3: BlobChunk, 4: BlobSize, 15: Refused}),
]


def encode_request(request: Request) -> bytes:
    return schema.encode_as(Request, request)


def decode_request(data: bytes) -> Request:
    """Raises Invalid with the codes of `schema.decode`."""
    request: Request = schema.decode_as(Request, data, REQUEST_BYTES_MAX)
    return request


def encode_response(response: Response) -> bytes:
    return schema.encode_as(Response, response)


def decode_response(data: bytes) -> Response:
    """Raises Invalid with the codes of `schema.decode`."""
    response: Response = schema.decode_as(Response, data, RESPONSE_BYTES_MAX)
    return response


def refusal(code: str, message: str) -> Refused:
    """A refusal whose sentence is cut to what a response can carry."""
    return Refused(code, message.encode()[:512].decode(errors="ignore"))


def blocks_that_fit(blocks: Iterable[FinalizedBlock], count: int) -> Blocks:
    """The answer to GetBlocks from consecutive `blocks`, consumed no further than needed.

    Cut after the last block with a certificate, because without one the receiver cannot yet
    accept what it got; only where none fits is the range left open.
    """
    fitting: list[FinalizedBlock] = []
    certified, size = 0, _ENVELOPE_BYTES
    for block in blocks:
        size += len(schema.encode(block))
        if size > RESPONSE_BYTES_MAX:
            break
        fitting.append(block)
        if block.certificate is not None:
            certified = len(fitting)
        if len(fitting) == min(count, RANGE_BLOCKS_MAX):
            break
    return Blocks(tuple(fitting[: certified or len(fitting)]))
