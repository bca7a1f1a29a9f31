"""Fixed point is exact, and refuses what it cannot hold."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compute.quantize import INT32_MAX, INT32_MIN, ONE, dequantize, quantize, saturate
from p2p_aios.errors import Invalid


@given(st.floats(-127.9, 127.9, width=64))
def test_quantize_rounds_the_exact_value_half_to_even(value: float) -> None:
    exact = Fraction(value) * ONE
    assert quantize(np.array([value]))[0] == round(exact)


@pytest.mark.parametrize(("halves", "expected"), [(1, 0), (3, 2), (5, 2), (-1, 0), (-3, -2)])
def test_ties_go_to_even(halves: int, expected: int) -> None:
    assert quantize(np.array([halves / 2 / ONE]))[0] == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_is_refused(value: float) -> None:
    with pytest.raises(Invalid) as caught:
        quantize(np.array([0.0, value]))
    assert caught.value.code == "non_finite"


@pytest.mark.parametrize("value", [128.0, -128.0000001, 3e38, -3e38])
def test_beyond_int32_is_refused(value: float) -> None:
    with pytest.raises(Invalid) as caught:
        quantize(np.array([value]))
    assert caught.value.code == "out_of_range"
    assert quantize(np.array([-128.0]))[0] == INT32_MIN


@given(st.lists(st.integers(-(2**23), 2**23), min_size=1, max_size=20))
def test_small_values_survive_the_way_to_float_and_back(values: list[int]) -> None:
    fixed = np.array(values, np.int32)
    assert np.array_equal(quantize(dequantize(fixed)), fixed)


def test_saturate_stops_at_the_ends_of_int32() -> None:
    wide = np.array([INT32_MAX + 1, INT32_MIN - 1, 7], np.int64)
    assert saturate(wide).tolist() == [INT32_MAX, INT32_MIN, 7]
