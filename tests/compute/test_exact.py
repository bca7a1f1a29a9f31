"""Integer products, exp, ln and σ against Python's big integers and `math`."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute import exact
from compute.quantize import FRACTION_BITS, INT32_MAX, INT32_MIN, ONE

int32s = st.integers(INT32_MIN, INT32_MAX)


@given(st.data(), st.integers(1, 5), st.integers(1, 40), st.integers(1, 4))
def test_products_equal_big_integers(data: st.DataObject, m: int, n: int, k: int) -> None:
    a = data.draw(st.lists(st.lists(int32s, min_size=n, max_size=n), min_size=m, max_size=m))
    b = data.draw(st.lists(st.lists(int32s, min_size=n, max_size=n), min_size=k, max_size=k))
    found = exact.multiply_floor(
        exact.limbs_of(np.array(a, np.int32)), exact.limbs_of(np.array(b, np.int32))
    )
    expected = [
        [sum(x * y for x, y in zip(p, q, strict=True)) >> FRACTION_BITS for q in b] for p in a
    ]
    assert found.tolist() == expected


@pytest.mark.parametrize(("left", "right"), [(INT32_MIN, INT32_MIN), (INT32_MIN, INT32_MAX)])
def test_the_longest_row_of_extremes_does_not_overflow(left: int, right: int) -> None:
    n = exact.SUM_TERMS_MAX
    found = exact.multiply_floor(
        exact.limbs_of(np.full((1, n), left, np.int32)),
        exact.limbs_of(np.full((1, n), right, np.int32)),
    )
    assert found[0, 0] == (n * left * right) >> FRACTION_BITS


def test_affine_saturates() -> None:
    x = np.full((1, 4), INT32_MAX, np.int32)
    weights = exact.limbs_of(np.array([[INT32_MAX] * 4, [INT32_MIN] * 4], np.int32))
    assert exact.affine(x, weights, np.zeros(2, np.int32)).tolist() == [[INT32_MAX, INT32_MIN]]


@given(st.integers(0, 2**33))
def test_exp_is_within_its_error(x: int) -> None:
    found = int(exact.exp_negative(np.array([x], np.int64))[0])
    assert abs(found - math.exp(-x / ONE) * ONE) <= 2
    assert found >= 0


@given(st.integers(ONE, 2**53))
def test_ln_is_within_its_error(x: int) -> None:
    found = int(exact.ln(np.array([x], np.int64))[0])
    assert abs(found - math.log(x / ONE) * ONE) <= 4


def test_exp_of_zero_and_ln_of_one_are_exact() -> None:
    assert exact.exp_negative(np.array([0], np.int64))[0] == ONE
    assert exact.ln(np.array([ONE], np.int64))[0] == 0


@given(int32s)
def test_sigmoid_is_close_and_symmetric(z: int) -> None:
    found = int(exact.sigmoid(np.array([z], np.int32))[0])
    assert abs(found - ONE / (1 + math.exp(-z / ONE))) <= 3
    if z > INT32_MIN:
        assert int(exact.sigmoid(np.array([-z], np.int32))[0]) == ONE - found


def test_tables_are_what_they_were() -> None:
    """A golden value: a changed table would fork every network that has settled a round."""
    x = np.arange(0, 1 << 30, 999_983, dtype=np.int64)
    assert int(exact.exp_negative(x).sum()) == EXP_SUM
    assert int(exact.ln(x + ONE).sum()) == LN_SUM


EXP_SUM = 289_951_538
LN_SUM = 58_342_356_467
