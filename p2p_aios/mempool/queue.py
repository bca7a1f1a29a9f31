"""One account's waiting transactions, and the choice of a block's among all accounts."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import islice
from typing import Final

from p2p_aios.errors import Invalid
from p2p_aios.mempool.lanes import is_free
from p2p_aios.mempool.ranking import Rank, Ranking
from p2p_aios.types.transaction import CheckedTransaction
from p2p_aios.units import Address

REPLACEMENT_PERCENT: Final = 110
"""A transaction of the same nonce must offer at least this part of the first one's fee."""
MISFITS_MAX: Final = 32
"""After so many transactions that no longer fit, a block counts as full."""
FREE_COUNT_MAX: Final = 64
"""Most free transactions that go before all others: a committee's worth."""
FREE_BYTES_MAX: Final = 64 * 1024
"""Most bytes of those; an eighth of a block."""
FREE_LOOKS_MAX: Final = 256
"""Accounts looked at for them."""


@dataclass(slots=True)
class Entry:
    transaction: CheckedTransaction
    rank: Rank


@dataclass(slots=True)
class Queue:
    """An account's transactions by nonce; gaps are allowed."""

    next_nonce: int
    """Of the account as last told: transactions below it are included."""
    entries: dict[int, Entry] = field(default_factory=dict)
    last_nonce: int = -1
    """Greatest nonce that waits; -1 for an empty queue."""

    def put(self, nonce: int, entry: Entry) -> None:
        self.entries[nonce] = entry
        self.last_nonce = max(self.last_nonce, nonce)

    def take(self, nonce: int) -> CheckedTransaction:
        entry = self.entries.pop(nonce)
        if nonce == self.last_nonce:
            self.last_nonce = max(self.entries, default=-1)
        return entry.transaction

    def head(self) -> Entry | None:
        """What can be included next, unless its nonce is missing."""
        return self.entries.get(self.next_nonce)

    def has_gap(self) -> bool:
        """Whether a nonce before the last one is missing."""
        return len(self.entries) <= self.last_nonce - self.next_nonce

    def tail(self) -> Entry | None:
        return self.entries.get(self.last_nonce)


def check_replacement(old: CheckedTransaction, new: CheckedTransaction) -> None:
    """Raises Invalid(`replacement_underpriced`)."""
    # At least one unit: otherwise a free one could be replaced, and gossiped, without end.
    least = max(1, -(-old.body.fee * REPLACEMENT_PERCENT // 100))
    if new.body.fee < least:
        raise Invalid(
            "replacement_underpriced",
            f"nonce {old.body.nonce} waits already; to replace it offer a fee of {least} units",
            least=least,
        )


def choose(
    heads: Ranking,
    queues: Mapping[Address, Queue],
    ahead: Mapping[Address, int],
    bytes_max: int,
    count_max: int,
) -> list[CheckedTransaction]:
    """Free heads within their lane, then the accounts' queues merged, best price first; of those
    only the ones reached are looked at.

    `heads` are the ranks of the queues' heads. For an account in `ahead`, the transaction at that
    nonce stands in for the head, at its own price.
    """
    chosen = _choose_free(
        heads, queues, ahead, min(bytes_max, FREE_BYTES_MAX), min(count_max, FREE_COUNT_MAX)
    )
    bytes_max -= sum(len(transaction.raw) for transaction in chosen)
    turns: list[Rank] = []
    entry_of: dict[Address, Entry] = {}
    begun = {transaction.sender: transaction.body.nonce + 1 for transaction in chosen}
    for account, nonce in begun.items():
        _take_turn(queues[account], nonce, turns, entry_of)
    coming, misfits = iter(heads), 0
    head = next(coming, None)
    while len(chosen) < count_max and misfits < MISFITS_MAX:
        if head is not None and (not turns or head < turns[0]):
            account = head[2]
            if account not in begun:
                queue = queues[account]
                _take_turn(queue, ahead.get(account, queue.next_nonce), turns, entry_of)
            head = next(coming, None)
            continue
        if not turns:
            break
        transaction = entry_of.pop(heappop(turns)[2]).transaction
        if len(transaction.raw) > bytes_max:
            misfits += 1
            continue
        chosen.append(transaction)
        bytes_max -= len(transaction.raw)
        queue = queues[transaction.sender]
        _take_turn(queue, transaction.body.nonce + 1, turns, entry_of)
    return chosen


def _choose_free(
    heads: Ranking,
    queues: Mapping[Address, Queue],
    ahead: Mapping[Address, int],
    bytes_max: int,
    count_max: int,
) -> list[CheckedTransaction]:
    """What the ledger waives the fee of is what the chain waits for: by price alone, full blocks
    would never take it. One of an account, the earliest arrivals first."""
    chosen: list[CheckedTransaction] = []
    for _, _, account in islice(heads.from_price(0), FREE_LOOKS_MAX):
        queue = queues[account]
        entry = queue.entries.get(ahead.get(account, queue.next_nonce))
        if entry is None or not is_free(entry.transaction):
            continue
        bytes_max -= len(entry.transaction.raw)
        if bytes_max < 0 or len(chosen) == count_max:
            break
        chosen.append(entry.transaction)
    return chosen


def _take_turn(queue: Queue, nonce: int, turns: list[Rank], entry_of: dict[Address, Entry]) -> None:
    entry = queue.entries.get(nonce)
    if entry is not None:
        heappush(turns, entry.rank)
        entry_of[entry.transaction.sender] = entry
