"""Letting a map grow although somebody is always reading.

A map may grow only while no transaction is open. To wait until that happens by itself may take for
ever where readers come in a steady stream; to keep new ones out until the slowest is done would
stand everybody still. So new readers are held for a moment, in which those of everyday size end,
and let in again for a while if one did not.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

HOLD_S: Final = 0.2
"""Longest time for which new readers are held..."""
PAUSE_S: Final = 0.8
"""...and how long they are let in before they are held again."""


class ReaderGate:
    """Counts open readers; runs what needs to be alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._is_held = False

    def enter(self) -> None:
        """Before a reader is opened; waits while the gate is held."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_held)
            self._readers += 1

    def leave(self) -> None:
        """After it is closed."""
        with self._changed:
            self._readers -= 1
            self._changed.notify_all()

    def run_alone(self, work: Callable[[], None], wait_s_max: float) -> bool:
        """Do `work` while no reader is open; False where one always was, for so long."""
        deadline_s = time.monotonic() + wait_s_max
        while True:
            if self._run_in_gap(work, min(HOLD_S, wait_s_max)):
                return True
            if time.monotonic() + PAUSE_S >= deadline_s:
                return False
            time.sleep(PAUSE_S)

    def _run_in_gap(self, work: Callable[[], None], hold_s: float) -> bool:
        with self._changed:
            self._is_held = True
            try:
                if not self._changed.wait_for(lambda: not self._readers, hold_s):
                    return False
                work()
                return True
            finally:
                self._is_held = False
                self._changed.notify_all()
