"""Exact matrix products and integer exp, ln and σ: the same result on every machine.

**Products.** int32 operands are cut into 16-bit limbs. Products of limbs are below 2^32 and a sum
of at most 2^20 of them below 2^53, so every partial sum of a float64 GEMM is an exact integer and
neither the order of summation, nor FMA, nor threads can matter.

**Transcendental functions.** e^-x is a product of three table entries and ln a digit-by-digit
logarithm, both on int64. The tables come from `decimal`, whose `exp` and `ln` round correctly.
"""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import cache
from typing import Final

import numpy as np

from compute.quantize import FRACTION_BITS, ONE, Float64s, Int32s, Int64s, saturate
from p2p_aios.errors import invariant

SUM_TERMS_MAX: Final = 1 << 20
"""Longest inner dimension whose limb sums stay exact in float64."""
_LIMB_BITS: Final = 16
_LIMB_MASK: Final = (1 << _LIMB_BITS) - 1

_TABLE_BITS: Final = 10
_TABLE_SIZE: Final = 1 << _TABLE_BITS
_EXP_BITS: Final = 30
"""Fractional bits of the tables, and of what is multiplied with them."""
_EXP_LIMIT: Final = 1 << (3 * _TABLE_BITS)
"""e^-x is 0 from here: x = 64, far below 2^-24."""
_CONTEXT: Final = Context(prec=40, rounding=ROUND_HALF_EVEN)
_LN2_BITS: Final = 30
_LOG_BITS: Final = 26
"""Binary digits of log2 computed after the point."""


def limbs_of(matrix: Int32s) -> tuple[Float64s, Float64s]:
    """(high, low) with matrix = high·2^16 + low and 0 <= low < 2^16, as float64."""
    high = matrix >> _LIMB_BITS
    low = matrix & _LIMB_MASK
    return high.astype(np.float64), low.astype(np.float64)


def multiply_floor(a: tuple[Float64s, Float64s], b: tuple[Float64s, Float64s]) -> Int64s:
    """⌊a·bᵀ / 2^24⌋, exact; a: limbs of (m, n), b: limbs of (k, n); result (m, k) below 2^62."""
    (a_high, a_low), (b_high, b_low) = a, b
    invariant(a_high.shape[1] <= SUM_TERMS_MAX, "inner dimension beyond exact float64 sums")
    high = (a_high @ b_high.T).astype(np.int64)
    low = (a_low @ b_low.T).astype(np.int64)
    middle = (a_high @ b_low.T).astype(np.int64) + (a_low @ b_high.T).astype(np.int64)
    # a·bᵀ = high·2^32 + middle·2^16 + low, up to 2^82: carry upwards so that nothing overflows.
    low += (middle & _LIMB_MASK) << _LIMB_BITS
    high += (middle >> _LIMB_BITS) + (low >> (2 * _LIMB_BITS))
    rest = (low & ((1 << (2 * _LIMB_BITS)) - 1)) >> FRACTION_BITS
    return (high << (2 * _LIMB_BITS - FRACTION_BITS)) + rest


def affine(inputs: Int32s, weights: tuple[Float64s, Float64s], bias: Int32s) -> Int32s:
    """W x + b, eq. (8)'s inner step: floor once, then saturate at int32; 24 fractional bits.

    inputs: (rows, n); weights: limbs of W with shape (outputs, n); bias: (outputs,);
    result: (rows, outputs).
    """
    return saturate(multiply_floor(limbs_of(inputs), weights) + bias.astype(np.int64))


def relu(z: Int32s) -> Int32s:
    """max(0, z)."""
    return np.maximum(z, np.int32(0))


def sigmoid(z: Int32s) -> Int32s:
    """σ(z) = 1 / (1 + e^-z), 24 fractional bits; σ(-z) = 1 - σ(z) holds exactly."""
    wide = z.astype(np.int64)
    positive = (ONE << FRACTION_BITS) // (ONE + exp_negative(np.abs(wide)))
    return np.where(wide < 0, ONE - positive, positive).astype(np.int32)


def exp_negative(x: Int64s) -> Int64s:
    """e^-x for x >= 0; 24 fractional bits in and out, error below 2^-23."""
    inside = np.minimum(x, _EXP_LIMIT - 1)
    coarse, middle, fine = _exp_tables()
    product = coarse[inside >> (2 * _TABLE_BITS)]
    product = (product * middle[(inside >> _TABLE_BITS) & (_TABLE_SIZE - 1)]) >> _EXP_BITS
    product = (product * fine[inside & (_TABLE_SIZE - 1)]) >> _EXP_BITS
    return np.where(x < _EXP_LIMIT, product >> (_EXP_BITS - FRACTION_BITS), 0)


def ln(x: Int64s) -> Int64s:
    """Natural logarithm of x >= 1; 24 fractional bits in and out, x < 2^54, error below 2^-22."""
    exponent = np.zeros(x.shape, np.int64)
    mantissa = x.copy()
    for step in (16, 8, 4, 2, 1):
        is_large = mantissa >= (ONE << step)
        mantissa = np.where(is_large, mantissa >> step, mantissa)
        exponent += is_large * step
    # The shifts above may drop bits that matter: take the mantissa again, with more precision.
    mantissa = (x << (_EXP_BITS - FRACTION_BITS)) >> exponent
    log2 = exponent
    for _ in range(_LOG_BITS):
        mantissa = (mantissa * mantissa) >> _EXP_BITS
        is_two = mantissa >> (_EXP_BITS + 1)
        mantissa = mantissa >> is_two
        log2 = 2 * log2 + is_two
    return (log2 * _ln2()) >> (_LN2_BITS + _LOG_BITS - FRACTION_BITS)


@cache
def _exp_tables() -> tuple[Int64s, Int64s, Int64s]:
    scales = (1 << (2 * _TABLE_BITS), 1 << _TABLE_BITS, 1)
    coarse, middle, fine = (
        np.array([_exp_entry(scale * index) for index in range(_TABLE_SIZE)], np.int64)
        for scale in scales
    )
    return coarse, middle, fine


def _exp_entry(x: int) -> int:
    value = _CONTEXT.exp(_CONTEXT.divide(Decimal(-x), Decimal(ONE)))
    return int(_CONTEXT.multiply(value, Decimal(1 << _EXP_BITS)).to_integral_value(ROUND_HALF_EVEN))


@cache
def _ln2() -> int:
    value = _CONTEXT.multiply(_CONTEXT.ln(Decimal(2)), Decimal(1 << _LN2_BITS))
    return int(value.to_integral_value(ROUND_HALF_EVEN))
