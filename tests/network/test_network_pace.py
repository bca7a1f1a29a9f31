"""Bursts are free; what comes on top waits its time."""

from hypothesis import given
from hypothesis import strategies as st

from p2p_aios.network.pace import Pace


def test_a_burst_is_free_and_the_rest_is_worked_off() -> None:
    pace = Pace(units_per_s=10, burst_units=20)
    assert pace.spend(20, 100.0) == 0.0
    assert round(pace.spend(5, 100.0), 6) == 0.5
    assert round(pace.spend(5, 100.5), 6) == 0.5
    assert pace.spend(20, 200.0) == 0.0


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(1, 300)), max_size=60))
def test_whoever_waits_as_told_never_gets_more_than_the_rate_and_the_burst(
    spending: list[tuple[float, int]],
) -> None:
    pace, now_s, units = Pace(units_per_s=50, burst_units=200), 0.0, 0
    for idle_s, wanted in spending:
        now_s += idle_s
        now_s += pace.spend(wanted, now_s)
        units += wanted
        assert units <= 50 * now_s + 200 + 1e-6
