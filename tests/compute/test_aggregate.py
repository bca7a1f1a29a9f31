"""Eq. (7): exact, and independent of order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from compute.aggregate import aggregate_mean, divide_half_even
from compute.quantize import INT32_MAX, INT32_MIN, Int32s

int32s = st.integers(INT32_MIN, INT32_MAX)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[list[int], list[list[int]]]:
    size = draw(st.integers(1, 6))
    vector = st.lists(int32s, min_size=size, max_size=size)
    return draw(vector), draw(st.lists(vector, min_size=1, max_size=9))


def half_even(numerator: int, divisor: int) -> int:
    quotient, rest = divmod(numerator, divisor)
    return quotient + (2 * rest > divisor or (2 * rest == divisor and quotient % 2 == 1))


def as_int32(values: list[int]) -> Int32s:
    return np.array(values, np.int32)


@given(rounds())
def test_eq_7_mean_of_updates_added_to_the_model_in_big_integers(
    example: tuple[list[int], list[list[int]]],
) -> None:
    base, updates = example
    count = len(updates)
    expected = [
        max(INT32_MIN, min(INT32_MAX, m + half_even(sum(u[i] for u in updates), count)))
        for i, m in enumerate(base)
    ]
    assert aggregate_mean(as_int32(base), [as_int32(u) for u in updates]).tolist() == expected


@given(rounds(), st.randoms(use_true_random=False))
def test_eq_7_does_not_depend_on_order(
    example: tuple[list[int], list[list[int]]], random: object
) -> None:
    base, updates = example
    shuffled = list(updates)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    first = aggregate_mean(as_int32(base), [as_int32(u) for u in updates])
    second = aggregate_mean(as_int32(base), [as_int32(u) for u in shuffled])
    assert first.tobytes() == second.tobytes()


def test_eq_7_without_updates_is_the_base() -> None:
    base = as_int32([1, 2, 3])
    assert np.array_equal(aggregate_mean(base, []), base)


def test_division_rounds_ties_to_even() -> None:
    numerators = np.array([1, 3, 5, -1, -3, -5, 7], np.int64)
    assert divide_half_even(numerators, 2).tolist() == [0, 2, 2, 0, -2, -2, 4]
