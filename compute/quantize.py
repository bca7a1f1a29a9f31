"""The one place where floats become fixed point: int32 with 24 fractional bits.

A value x stands for the integer round(x·2^24), ties to even. Multiplying a float64 by a power of
two is exact and so is the conversion back, hence the result is the same on every machine.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from p2p_aios.errors import Invalid

FRACTION_BITS: Final = 24
ONE: Final = 1 << FRACTION_BITS
"""1.0 in fixed point."""
INT32_MIN: Final = -(1 << 31)
INT32_MAX: Final = (1 << 31) - 1

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]
Float32s = npt.NDArray[np.float32]
Float64s = npt.NDArray[np.float64]


def quantize(values: npt.NDArray[np.floating]) -> Int32s:
    """Fixed point of `values` (any shape; float32 or float64), ties to even.

    Raises Invalid: `non_finite` for NaN or infinity, `out_of_range` beyond int32 (|x| of 128).
    """
    scaled = np.rint(values.astype(np.float64) * ONE)
    if not np.isfinite(scaled).all():
        raise Invalid("non_finite", "a value is NaN or infinite")
    if scaled.size and (scaled.min() < INT32_MIN or scaled.max() > INT32_MAX):
        raise Invalid("out_of_range", "a value lies outside -128..128, the range of fixed point")
    return scaled.astype(np.int32)


def dequantize(values: Int32s) -> Float32s:
    """float32 nearest to each fixed-point value; for local training only."""
    return (values.astype(np.float64) / ONE).astype(np.float32)


def saturate(values: Int64s) -> Int32s:
    """Each value, or the end of int32 it lies beyond."""
    return np.clip(values, INT32_MIN, INT32_MAX).astype(np.int32)
