"""Model and update blobs: one flat vector of parameters in canonical CBOR.

    [version, format, count, data]

`data` is little-endian: int32 with 24 fractional bits, or float32, which is quantized here,
exactly, so that NaN and infinity can arrive and be refused by name. We write int32 only.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

import numpy as np

from compute.quantize import Int32s, quantize
from p2p_aios.codec import schema
from p2p_aios.codec.limits import Range, Size
from p2p_aios.errors import Invalid
from p2p_aios.types.learning import (
    PARAMETERS_MAX,
    ModelSpec,
    Verdict,
    count_parameters,
)

VERSION: Final = 1
OVERHEAD_BYTES_MAX: Final = 16
"""Longest header before `data`: array, version, format, count, length."""
_ITEM_BYTES: Final = 4


class Format(IntEnum):
    """How `data` holds one parameter; four bytes each."""

    FIXED = 1
    """int32 with 24 fractional bits."""
    FLOAT32 = 2
    """IEEE 754 binary32."""


@dataclass(frozen=True, slots=True)
class ParameterBlob:
    version: Annotated[int, Range(VERSION, VERSION)]
    format: Format
    count: Annotated[int, Range(1, PARAMETERS_MAX)]
    data: Annotated[bytes, Size(_ITEM_BYTES, PARAMETERS_MAX * _ITEM_BYTES)]


def blob_bytes_max(spec: ModelSpec) -> int:
    """Longest blob of a model of this shape, or of an update to it."""
    return OVERHEAD_BYTES_MAX + _ITEM_BYTES * count_parameters(spec)


def write_parameters(values: Int32s) -> bytes:
    """Blob of a model or an update; values: int32 with 24 fractional bits, one dimension."""
    data = np.ascontiguousarray(values, "<i4").tobytes()
    return schema.encode(ParameterBlob(VERSION, Format.FIXED, values.size, data))


def read_model(blob: bytes, spec: ModelSpec) -> Int32s:
    """Parameters of a model, int32 with 24 fractional bits, shape (count_parameters(spec),).

    Raises Invalid(`model_` and the verdict's name): a model that cannot be read.
    """
    values = _read(blob, spec)
    if isinstance(values, Verdict):
        name = values.name.lower()
        raise Invalid(f"model_{name}", f"the model blob is {name.replace('_', ' ')} for its shape")
    return values


def read_update(blob: bytes, spec: ModelSpec, update_limit: int) -> Int32s | Verdict:
    """An update's components as `read_model` gives parameters, or why it is refused.

    update_limit: largest magnitude of a component, 24 fractional bits.
    """
    values = _read(blob, spec)
    if isinstance(values, Verdict):
        return values
    magnitude = max(int(values.max()), -int(values.min()))
    return Verdict.OUT_OF_RANGE if magnitude > update_limit else values


def _read(blob: bytes, spec: ModelSpec) -> Int32s | Verdict:
    bytes_max = blob_bytes_max(spec)
    if len(blob) > bytes_max:
        return Verdict.OVERSIZED
    try:
        record = schema.decode(ParameterBlob, blob, bytes_max)
    except Invalid:
        return Verdict.MALFORMED
    if len(record.data) != record.count * _ITEM_BYTES:
        return Verdict.MALFORMED
    if record.count != count_parameters(spec):
        return Verdict.MISSHAPEN
    if record.format is Format.FIXED:
        return np.frombuffer(record.data, "<i4").astype(np.int32, copy=False)
    try:
        return quantize(np.frombuffer(record.data, "<f4"))
    except Invalid as error:
        return Verdict.NON_FINITE if error.code == "non_finite" else Verdict.OUT_OF_RANGE
