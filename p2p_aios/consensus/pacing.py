"""When a leader proposes, when a voter answers, when both give up (DESIGN §6, "Pacing").

Wall-clock times become monotonic ones at each step, so a clock that is set moves later decisions
but fires nothing twice.
"""

from typing import Final

from p2p_aios.consensus.events import Now
from p2p_aios.params import Params
from p2p_aios.units import Millis

BUILD_LEAD_MIN_MS: Final = 20
"""A build is asked for at least this long before its slot..."""
BUILD_LEAD_MAX_MS: Final = 150
"""... and at most this long: transactions that come later wait a block more."""
DOUBLINGS_MAX: Final = 16
REBROADCAST_MS: Final = 1000
"""How often a validator stuck in a view repeats itself."""


def block_timestamp(parent_ms: int, wall_ms: int, interval_ms: int) -> Millis:
    """One interval after the parent, unless the clock is an interval or more past that: then the
    clock, so that a chain that stood still does not race to catch up."""
    slot = parent_ms + interval_ms
    return Millis(slot if wall_ms - slot < interval_ms else wall_ms)


def monotonic_of(wall_ms: int, now: Now) -> int:
    """The monotonic time at which the wall clock will show `wall_ms`."""
    return now.monotonic_ms + wall_ms - now.wall_ms


def slot_of(parent_ms: int | None, entered_ms: int, now: Now, params: Params) -> int:
    """Monotonic time of the slot after a parent with this timestamp.

    An unknown parent counts as just proposed. However wrong our clock, the slot is at most an
    interval and two clock skews after the view's entry, so a bad clock cannot stop us.
    """
    if parent_ms is None:
        return entered_ms + params.block_interval_ms
    latest = entered_ms + params.block_interval_ms + 2 * params.clock_skew_ms
    return min(monotonic_of(parent_ms + params.block_interval_ms, now), latest)


def delta_of(nullified: int, params: Params) -> int:
    """Δ in ms after this many nullified views since the last finalization."""
    return min(params.delta_ms << min(nullified, DOUBLINGS_MAX), params.delta_max_ms)


def build_lead(last_build_ms: int) -> int:
    """How long before its slot to ask for a build, from how long the last one took."""
    return max(BUILD_LEAD_MIN_MS, min(BUILD_LEAD_MAX_MS, last_build_ms + last_build_ms // 4 + 5))
