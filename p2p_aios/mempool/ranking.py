"""An ordered list of accounts by the price of one of their transactions."""

from bisect import bisect_left, insort
from collections.abc import Iterator
from itertools import islice

from p2p_aios.units import Address

Rank = tuple[int, int, Address]
"""(negated price, order of arrival, account): ascending is best first, and no two are equal."""


class Ranking:
    """Sorted ranks, at most one per account.

    A plain list: with bisection an insertion among 20,000 costs a few microseconds, and walking
    the best costs nothing per account left out.
    """

    def __init__(self) -> None:
        self._ranks: list[Rank] = []
        self._of: dict[Address, Rank] = {}

    def place(self, account: Address, rank: Rank | None) -> None:
        """Give `account` this rank instead of the one it had; None takes it out."""
        old = self._of.get(account)
        if old == rank:
            return
        if old is not None:
            del self._ranks[bisect_left(self._ranks, old)]
            del self._of[account]
        if rank is not None:
            insort(self._ranks, rank)
            self._of[account] = rank

    def from_worst(self) -> Iterator[Rank]:
        """Worst first; the ranking must not change meanwhile."""
        return reversed(self._ranks)

    def from_price(self, price: int) -> Iterator[Rank]:
        """Those that offer at most `price`, best first; the ranking must not change meanwhile."""
        return islice(self._ranks, bisect_left(self._ranks, (-price,)), None)

    def __iter__(self) -> Iterator[Rank]:
        """Best first; the ranking must not change meanwhile."""
        return iter(self._ranks)

    def __len__(self) -> int:
        return len(self._ranks)
