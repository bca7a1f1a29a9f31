"""What is missing, since when, and when to ask again; and how often peers may ask us."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from p2p_aios.units import Address, Hash, View

RETRY_MS: Final = 250
"""First interval between two requests for the same thing; doubles."""
RETRY_MAX_MS: Final = 2000
INQUIRIES_MAX: Final = 64
"""Most things asked for at a time."""
ALLOWANCE_MAX: Final = 8
"""Requests answered per peer and window."""
ALLOWANCE_WINDOW_MS: Final = 1000

Missing = View | Hash
"""A view whose certificate, or a block hash whose block, is missing."""


@dataclass(slots=True)
class _Inquiry:
    due_ms: int
    attempts: int = 0


class Inquiries:
    """Paces requests for what is missing."""

    def __init__(self) -> None:
        self._open: dict[Missing, _Inquiry] = {}

    def keep(self, wanted: Iterable[Missing], patience_ms: int, now_ms: int) -> None:
        """Open an inquiry for each thing newly wanted, first due after `patience_ms`."""
        for thing in wanted:
            if thing not in self._open and len(self._open) < INQUIRIES_MAX:
                self._open[thing] = _Inquiry(now_ms + patience_ms)

    def drop_all_but(self, wanted: frozenset[Missing]) -> None:
        for thing in [thing for thing in self._open if thing not in wanted]:
            del self._open[thing]

    def is_open(self, thing: Missing) -> bool:
        return thing in self._open

    def take_due(self, thing: Missing, now_ms: int) -> int | None:
        """How often it was asked for before, if it is due now; then due again after a while."""
        inquiry = self._open.get(thing)
        if inquiry is None or inquiry.due_ms > now_ms:
            return None
        attempts = inquiry.attempts
        inquiry.attempts += 1
        inquiry.due_ms = now_ms + min(RETRY_MS << min(attempts, 8), RETRY_MAX_MS)
        return attempts

    def next_ms(self) -> int | None:
        return min((inquiry.due_ms for inquiry in self._open.values()), default=None)


class Allowance:
    """Bounds how often something is done for each peer."""

    def __init__(self, most: int = ALLOWANCE_MAX, window_ms: int = ALLOWANCE_WINDOW_MS) -> None:
        self._most = most
        self._window_ms = window_ms
        self._window = 0
        self._used: dict[Address, int] = {}

    def take(self, peer: Address, now_ms: int) -> bool:
        """Whether one more is allowed now; it is then used."""
        window = now_ms // self._window_ms
        if window != self._window:
            self._window = window
            self._used.clear()
        used = self._used.get(peer, 0)
        self._used[peer] = used + 1
        return used < self._most
