"""Requests and responses: sizes, and how a range of blocks is cut to fit."""

from collections.abc import Iterator

import pytest

from p2p_aios.codec.cid import cid_of
from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import Invalid
from p2p_aios.types.block import Block, FinalizedBlock, Header
from p2p_aios.types.request import (
    BLOB_BYTES_MAX,
    CHUNK_BYTES_MAX,
    RANGE_BLOCKS_MAX,
    REQUEST_BYTES_MAX,
    RESPONSE_BYTES_MAX,
    BlobChunk,
    Blocks,
    GetBlob,
    GetBlocks,
    GetStatus,
    HasBlob,
    Request,
    Status,
    blocks_that_fit,
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    refusal,
)
from p2p_aios.types.vote import Ballot, Certificate, VoteKind
from p2p_aios.units import Address, Epoch, Hash, Height, Millis, Signature, View

ZERO = Hash(bytes(32))
CERTIFICATE = Certificate(
    Ballot(VoteKind.FINALIZE, Epoch(0), View(1), ZERO),
    tuple(range(64)),
    tuple(Signature(bytes([n]) * 64) for n in range(64)),
)


def block(height: int, body_bytes: int = 0, certified: bool = True) -> FinalizedBlock:
    header = Header(
        *(ZERO, Height(height), Epoch(0), View(height), ZERO, Millis(height * 500)),
        *(Address(bytes(20)), ZERO, ZERO, ZERO, ZERO, ZERO, ZERO),
    )
    chunks = tuple(bytes(60_000) for _ in range(body_bytes // 60_000))
    return FinalizedBlock(Block(header, chunks), CERTIFICATE if certified else None)


def test_requests_and_responses_are_read_back() -> None:
    cid = cid_of(b"blob")
    requests: list[Request] = [GetStatus(), GetBlocks(Height(7), 64), GetBlob(cid, 5), HasBlob(cid)]
    for request in requests:
        data = encode_request(request)
        assert len(data) <= REQUEST_BYTES_MAX
        assert decode_request(data) == request
    status = Status(Height(9), sha256(b"tip"), Epoch(1))
    assert decode_response(encode_response(status)) == status


def test_the_largest_chunk_fits_a_frame() -> None:
    chunk = BlobChunk(BLOB_BYTES_MAX, BLOB_BYTES_MAX, bytes(CHUNK_BYTES_MAX))
    data = encode_response(chunk)
    assert len(data) <= RESPONSE_BYTES_MAX
    assert decode_response(data) == chunk


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x81\x09", b"\x81\x01\x00", bytes(300)])
def test_other_requests_are_refused(data: bytes) -> None:
    with pytest.raises(Invalid):
        decode_request(data)


def test_ranges_have_bounds() -> None:
    for count in (0, RANGE_BLOCKS_MAX + 1):
        with pytest.raises(Invalid, match="schema_mismatch"):
            decode_request(encode_request(GetBlocks(Height(1), count)))


def test_a_range_ends_with_a_certificate_where_one_fits() -> None:
    chain = [block(h, certified=h in (2, 4)) for h in range(1, 9)]
    assert len(blocks_that_fit(chain, 64).blocks) == 4
    assert len(blocks_that_fit(chain, 3).blocks) == 2
    assert len(blocks_that_fit(chain, 1).blocks) == 1  # none fits: left open
    assert blocks_that_fit([], 64) == Blocks(())


def test_a_range_fits_a_frame_and_reads_no_further_than_needed() -> None:
    read = []

    def heavy() -> Iterator[FinalizedBlock]:
        for height in range(1, 100):
            read.append(height)
            yield block(height, body_bytes=500_000)

    answer = blocks_that_fit(heavy(), 64)
    assert len(answer.blocks) == 2
    assert read == [1, 2, 3]
    assert len(encode_response(answer)) <= RESPONSE_BYTES_MAX


def test_empty_blocks_fill_a_range() -> None:
    answer = blocks_that_fit((block(h) for h in range(1, 1000)), 64)
    assert len(answer.blocks) == RANGE_BLOCKS_MAX
    assert decode_response(encode_response(answer)) == answer


def test_the_heaviest_block_fits_alone() -> None:
    assert len(blocks_that_fit([block(1, body_bytes=900 * 1024)], 64).blocks) == 1


def test_a_refusal_is_cut_to_size() -> None:
    refused = refusal("blob_absent", "é" * 1000)
    assert decode_response(encode_response(refused)) == refused
    assert len(refused.message.encode()) == 512
    assert len(refusal("blob_absent", "a" + "é" * 1000).message.encode()) == 511
