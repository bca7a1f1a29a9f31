"""Shard blobs and their refusals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.shard import Shard, ShardBlob, make_shard, read_shard, write_shard
from p2p_aios.codec import schema
from p2p_aios.errors import Invalid


def test_what_is_written_is_read() -> None:
    shard = make_shard(np.arange(12.0).reshape(4, 3) / 7, np.array([0, 1, 1, 0]))
    read = read_shard(write_shard(shard), columns=3, classes=2)
    assert np.array_equal(read.features, shard.features)
    assert np.array_equal(read.labels, shard.labels)


GOOD = write_shard(Shard(np.zeros((2, 3), np.int32), np.array([0, 1])))


@pytest.mark.parametrize(
    ("blob", "code"),
    [
        (b"", "shard_malformed"),
        (GOOD[:-1], "shard_malformed"),
        (schema.encode(ShardBlob(1, 2, 3, bytes(20), bytes(8))), "shard_malformed"),
        (schema.encode(ShardBlob(1, 2, 3, bytes(24), bytes(4))), "shard_malformed"),
        (write_shard(Shard(np.zeros((2, 4), np.int32), np.array([0, 1]))), "shard_misshapen"),
        (
            write_shard(Shard(np.zeros((2, 3), np.int32), np.array([0, 2]))),
            "shard_label_out_of_range",
        ),
    ],
)
def test_each_refusal_is_named(blob: bytes, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        read_shard(blob, columns=3, classes=2)
    assert caught.value.code == code


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_invalid(blob: bytes) -> None:
    with pytest.raises(Invalid):
        read_shard(blob, columns=3, classes=2)


@pytest.mark.parametrize(
    ("x", "y"),
    [
        (np.zeros(3), np.zeros(3, int)),
        (np.zeros((2, 3)), np.zeros(3, int)),
        (np.zeros((2, 3)), np.array([0, -1])),
        (np.zeros((0, 3)), np.zeros(0, int)),
    ],
)
def test_make_shard_refuses_other_shapes(x: np.ndarray, y: np.ndarray) -> None:
    with pytest.raises(Invalid) as caught:
        make_shard(x, y)
    assert caught.value.code == "shard_malformed"
