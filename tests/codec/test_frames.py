"""Cutting a byte stream into frames, whatever the reads bring."""

import contextlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_aios.codec.frames import (
    FrameBuffer,
    encode_frame,
    read_u32_header,
    read_varint_header,
)
from p2p_aios.errors import Invalid

LIMIT = 300


def encode_varint_frame(body: bytes) -> bytes:
    length, prefix = len(body), bytearray()
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + body


ENCODINGS = {read_u32_header: encode_frame, read_varint_header: encode_varint_frame}


@pytest.mark.parametrize("read_header", ENCODINGS)
@given(bodies=st.lists(st.binary(max_size=LIMIT), max_size=8), cuts=st.data())
def test_frames_come_out_as_they_went_in_however_they_are_cut(read_header, bodies, cuts):
    wire = b"".join(map(ENCODINGS[read_header], bodies))
    points = sorted(cuts.draw(st.sets(st.integers(0, len(wire)), max_size=12)) | {0, len(wire)})
    buffer = FrameBuffer(LIMIT, read_header)
    frames = []
    for start, end in pairwise(points):
        buffer.feed(wire[start:end])
        while (frame := buffer.next_frame()) is not None:
            frames.append(frame)
    assert frames == bodies
    assert buffer.next_frame() is None


@pytest.mark.parametrize("read_header", ENCODINGS)
@given(noise=st.binary(max_size=2000))
def test_noise_is_frames_or_invalid_and_never_hoarded(read_header, noise):
    buffer = FrameBuffer(LIMIT, read_header)
    buffer.feed(noise)
    with contextlib.suppress(Invalid):
        while (frame := buffer.next_frame()) is not None:
            assert len(frame) <= LIMIT
        assert len(buffer._buffer) < LIMIT + 5


def test_too_large_a_frame_is_refused_at_its_header():
    buffer = FrameBuffer(LIMIT)
    buffer.feed((LIMIT + 1).to_bytes(4, "big"))
    with pytest.raises(Invalid, match="frame_too_large"):
        buffer.next_frame()


def test_an_endless_varint_is_malformed():
    buffer = FrameBuffer(LIMIT, read_varint_header)
    buffer.feed(b"\xff" * 4)
    assert buffer.next_frame() is None
    buffer.feed(b"\xff")
    with pytest.raises(Invalid, match="frame_malformed"):
        buffer.next_frame()
