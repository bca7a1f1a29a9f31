"""Shard blobs: labelled rows that every validator scores a model on.

    [version, rows, columns, features, labels]

`features` is row-major int32 with 24 fractional bits, `labels` uint32; both little-endian.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
import numpy.typing as npt

from compute.quantize import Int32s, Int64s, quantize
from p2p_aios.codec import schema
from p2p_aios.codec.limits import Range, Size
from p2p_aios.errors import Invalid

VERSION: Final = 1
SHARD_BYTES_MAX: Final = 64 << 20
ROWS_MAX: Final = 1 << 22
_ITEM_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class ShardBlob:
    version: Annotated[int, Range(VERSION, VERSION)]
    rows: Annotated[int, Range(1, ROWS_MAX)]
    columns: Annotated[int, Range(1, 1 << 20)]
    features: Annotated[bytes, Size(_ITEM_BYTES, SHARD_BYTES_MAX)]
    labels: Annotated[bytes, Size(_ITEM_BYTES, ROWS_MAX * _ITEM_BYTES)]


@dataclass(frozen=True, slots=True)
class Shard:
    features: Int32s
    """(rows, columns), 24 fractional bits."""
    labels: Int64s
    """(rows,), class numbers from 0."""


def make_shard(x: npt.NDArray[np.floating], y: npt.NDArray[np.integer]) -> Shard:
    """Shard of float features (rows, columns) and labels (rows,).

    Raises Invalid: `shard_malformed`, and the codes of `quantize`.
    """
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(y) or int(y.min()) < 0:
        raise Invalid("shard_malformed", "expected x of shape (rows, columns) and labels y >= 0")
    return Shard(quantize(x), y.astype(np.int64))


def write_shard(shard: Shard) -> bytes:
    """Raises Invalid(`shard_too_large`)."""
    rows, columns = shard.features.shape
    features = np.ascontiguousarray(shard.features, "<i4").tobytes()
    labels = np.ascontiguousarray(shard.labels, "<u4").tobytes()
    blob = schema.encode(ShardBlob(VERSION, rows, columns, features, labels))
    if len(blob) > SHARD_BYTES_MAX:
        raise Invalid("shard_too_large", f"{len(blob)} bytes; at most {SHARD_BYTES_MAX}: split it")
    return blob


def read_shard(blob: bytes, columns: int, classes: int) -> Shard:
    """Rows with `columns` features and labels below `classes`.

    Raises Invalid: `shard_malformed`, `shard_misshapen`, `shard_label_out_of_range`.
    """
    try:
        record = schema.decode(ShardBlob, blob, SHARD_BYTES_MAX)
    except Invalid as error:
        raise Invalid("shard_malformed", f"not a shard: {error.message}") from None
    cells = record.rows * record.columns
    if len(record.features) != cells * _ITEM_BYTES or len(record.labels) != (
        record.rows * _ITEM_BYTES
    ):
        raise Invalid("shard_malformed", "the byte lengths contradict rows and columns")
    if record.columns != columns:
        raise Invalid(
            "shard_misshapen", f"{record.columns} columns where the model takes {columns}"
        )
    features = np.frombuffer(record.features, "<i4").astype(np.int32, copy=False)
    labels = np.frombuffer(record.labels, "<u4").astype(np.int64)
    if int(labels.max()) >= classes:
        raise Invalid("shard_label_out_of_range", f"a label exceeds the model's {classes} outputs")
    return Shard(features.reshape(record.rows, columns), labels)
