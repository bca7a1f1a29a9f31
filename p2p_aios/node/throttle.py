"""How many transactions a leader puts into its block: what can be built and verified in its view.

A block that takes longer is lost; its transactions wait on, and the next one would be larger still.
So a node remembers what a transaction cost it lately, building or verifying, and proposes no more
than fits. That is a leader's choice and no rule: voters take whatever the protocol allows.
"""

from typing import Final

from p2p_aios.consensus.pacing import BUILD_LEAD_MAX_MS
from p2p_aios.params import Params

COUNT_MIN: Final = 128
"""However slow the node, its blocks may hold so many; and smaller ones are not measured, for there
the cost of the block itself would pass for that of its transactions."""
COST_MS_FIRST: Final = 0.25
"""Assumed of a transaction until one is measured: a few times what an idle core takes."""
COST_MS_MIN: Final = 0.001
"""No machine is faster; the quotient stays finite."""
WEIGHT: Final = 0.25
"""Of the newest block in the average: a handful of blocks decide."""


class Throttle:
    """Bounds blocks by the recent cost of a transaction; of one node."""

    def __init__(self, params: Params) -> None:
        self._count_max = params.block_transactions_max
        self._cost_ms = COST_MS_FIRST

    def note(self, transactions: int, took_ms: float) -> None:
        """A block of so many transactions was built or verified in that time, waiting included."""
        if transactions >= min(COUNT_MIN, self._count_max):
            self._cost_ms += WEIGHT * (took_ms / transactions - self._cost_ms)

    def count_max(self, delta_ms: int) -> int:
        """Most transactions for a block to build now, while Δ is so long."""
        affordable = int(work_ms_max(delta_ms) / max(self._cost_ms, COST_MS_MIN))
        return min(self._count_max, max(COUNT_MIN, affordable))


def work_ms_max(delta_ms: int) -> int:
    """How long a block may take to build, and a voter's machine of the same speed to verify it.

    Building begins at most BUILD_LEAD_MAX_MS before the slot, proposal and votes travel Δ each, and
    the notarization is due 3Δ after the slot: lead + 3Δ - 2Δ is left for both. With the protocol's
    Δ that is less than half the distance of two slots, so blocks keep to theirs; where views fail
    one after the other Δ doubles, and with it what a block may hold: time that no smaller block
    saves is no reason to shrink further.
    """
    return (BUILD_LEAD_MAX_MS + delta_ms) // 2
