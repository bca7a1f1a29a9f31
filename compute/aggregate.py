"""Aggregation, eq. (7): M_new = M + (1/K) Σ ΔM_k.

Source: paper §4.1, eq. (7). Deviation: the index k under the paper's sum is read as the number of
participants K, and the previous model is written out. Sums are exact in int64 (at most 256 updates
of int32), so the result depends on no order, machine or library.
"""

from collections.abc import Sequence

import numpy as np

from compute.quantize import Int32s, Int64s, saturate


def aggregate_mean(base: Int32s, updates: Sequence[Int32s]) -> Int32s:
    """The next model; base and each update: int32 with 24 fractional bits, one shape.

    The mean is rounded to nearest, ties to even; the sum with the base saturates at int32. With no
    update at all it is the base.
    """
    if not updates:
        return base.copy()
    total = np.zeros(base.shape, np.int64)
    for update in updates:
        total += update
    return saturate(base.astype(np.int64) + divide_half_even(total, len(updates)))


def divide_half_even(numerator: Int64s, divisor: int) -> Int64s:
    """numerator / divisor to the nearest integer, ties to even; |numerator| < 2^62, divisor > 0."""
    quotient, remainder = np.divmod(numerator, divisor)
    twice = 2 * remainder
    rounds_up = (twice > divisor) | ((twice == divisor) & (quotient % 2 == 1))
    result: Int64s = quotient + rounds_up
    return result
