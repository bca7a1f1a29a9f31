"""How fast one peer may make us work: so many units a second, and a burst on top.

Sans-I/O: the caller passes the time, and waits. Known as the generic cell rate algorithm.
"""


class Pace:
    """Bookkeeping of one peer; times are monotonic seconds."""

    def __init__(self, units_per_s: float, burst_units: float) -> None:
        self._unit_s = 1 / units_per_s
        self._burst_s = burst_units / units_per_s
        self._paid_until_s = 0.0

    def spend(self, units: float, now_s: float) -> float:
        """Spend units; the seconds to wait before they are worked off, 0.0 within the burst."""
        self._paid_until_s = max(self._paid_until_s, now_s) + units * self._unit_s
        return max(0.0, self._paid_until_s - self._burst_s - now_s)
