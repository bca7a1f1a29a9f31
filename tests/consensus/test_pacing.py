"""Timestamps, slots and time-outs."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_aios.consensus.events import Now
from p2p_aios.consensus.pacing import (
    BUILD_LEAD_MAX_MS,
    BUILD_LEAD_MIN_MS,
    block_timestamp,
    build_lead,
    delta_of,
    monotonic_of,
    slot_of,
)
from p2p_aios.params import MAINNET
from p2p_aios.units import Millis


@pytest.mark.parametrize(
    ("wall_ms", "timestamp_ms"),
    [(0, 10_500), (10_480, 10_500), (10_999, 10_500), (11_000, 11_000), (60_000, 60_000)],
)
def test_a_block_keeps_the_interval_until_the_clock_is_an_interval_past_it(
    wall_ms: int, timestamp_ms: int
) -> None:
    assert block_timestamp(10_000, wall_ms, 500) == timestamp_ms


@given(st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_block_is_never_less_than_an_interval_after_its_parent(parent: int, wall: int) -> None:
    assert block_timestamp(parent, wall, 500) >= parent + 500


def test_the_slot_follows_the_parent_by_the_wall_clock() -> None:
    now = Now(monotonic_ms=7_000, wall_ms=100_200)
    assert monotonic_of(100_500, now) == 7_300
    assert slot_of(100_000, 7_000, now, MAINNET) == 7_300
    assert slot_of(90_000, 7_000, now, MAINNET) < 7_000


def test_an_unknown_parent_counts_as_just_proposed() -> None:
    assert slot_of(None, 7_000, Now(9_000, 0), MAINNET) == 7_500


def test_a_clock_far_behind_delays_a_slot_by_a_bounded_time() -> None:
    hour_behind = Now(monotonic_ms=7_000, wall_ms=100_000 - 3_600_000)
    assert slot_of(100_000, 7_000, hour_behind, MAINNET) == 7_000 + 500 + 2 * 250


def test_delta_doubles_up_to_its_limit() -> None:
    params = replace(MAINNET, delta_ms=Millis(300), delta_max_ms=Millis(8000))
    assert [delta_of(n, params) for n in (0, 1, 4, 5, 10**9)] == [300, 600, 4800, 8000, 8000]


@given(st.integers(0, 10**6))
def test_the_build_lead_covers_the_last_build_within_bounds(last_ms: int) -> None:
    lead = build_lead(last_ms)
    assert BUILD_LEAD_MIN_MS <= lead <= BUILD_LEAD_MAX_MS
    assert lead >= min(last_ms, BUILD_LEAD_MAX_MS)
