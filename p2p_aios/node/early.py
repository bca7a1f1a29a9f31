"""Transactions that came too early: held for a few blocks, since their senders may be ahead of us.

Nobody is charged for what is only held and passed on, so each sender has a small share.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from p2p_aios.types.transaction import CheckedTransaction
from p2p_aios.units import Address, Hash, Height

EARLY_MAX: Final = 1024
"""Most transactions held."""
EARLY_BYTES_MAX: Final = 1 << 20
"""Most bytes of them."""
EARLY_PER_SENDER_MAX: Final = 8
EARLY_BLOCKS: Final = 8
"""For how many blocks they are held."""
EARLY_CODES: Final = frozenset(
    {"unknown_task", "unknown_job", "round_not_yet", "assignment_not_yet"}
)
"""Refusals that the next blocks may lift."""


@dataclass(frozen=True, slots=True)
class Held:
    transaction: CheckedTransaction
    until: Height
    """When this is final, it is tried a last time."""


class EarlyTransactions:
    """What is held, in the order it came."""

    def __init__(self) -> None:
        self._held: dict[Hash, Held] = {}
        self._counts: Counter[Address] = Counter()
        self._bytes = 0

    def __iter__(self) -> Iterator[CheckedTransaction]:
        return (held.transaction for held in self._held.values())

    def has_room(self, transaction: CheckedTransaction) -> bool:
        """Whether it is not held yet and can be."""
        return (
            transaction.id not in self._held
            and len(self._held) < EARLY_MAX
            and self._bytes + len(transaction.raw) <= EARLY_BYTES_MAX
            and self._counts[transaction.sender] < EARLY_PER_SENDER_MAX
        )

    def hold(self, transaction: CheckedTransaction, until: Height) -> None:
        """Keep what there is room for."""
        self._held[transaction.id] = Held(transaction, until)
        self._counts[transaction.sender] += 1
        self._bytes += len(transaction.raw)

    def take(self) -> tuple[Held, ...]:
        """All of it, to be tried again; nothing is held then."""
        held = tuple(self._held.values())
        self._held.clear()
        self._counts.clear()
        self._bytes = 0
        return held
