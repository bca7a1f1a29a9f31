"""The mempool: which transactions wait, which go into the next block, which must make room.

Theory. An account's transactions can only be included in the order of their nonces, so each
account is a queue; across accounts the higher price (fee per byte) goes first, the earlier arrival
on a tie. Two rankings hold one entry per account: `_heads`, the price of the transaction that is
next by nonce, for selection; `_tails`, the price of the account's last transaction where it pays,
for eviction — taking a tail never leaves a gap behind. What already waits behind a gap goes first,
whatever it offers. Free ones have places of their own (`lanes`), in the pool and in every block.
Every operation costs a few microseconds, however much waits.

Sans-I/O. What depends on state beyond the nonce (balance, fee, form at this height) is the
ledger's to check before `add`.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from p2p_aios.errors import Invalid, Unavailable, invariant
from p2p_aios.mempool.lanes import Lane, Limits, is_free
from p2p_aios.mempool.queue import Entry, Queue, check_replacement, choose
from p2p_aios.mempool.ranking import Rank, Ranking
from p2p_aios.types.transaction import CheckedTransaction
from p2p_aios.units import Address, Hash, Height

WAITING_PRICE: Final = 0
"""What a transaction behind a gap counts for when room is needed: it offers a fee that nobody can
take, so a full pool of such must not keep out those that can be included."""
_PRICE_SHIFT: Final = 16
"""Prices are ⌊fee · 2^16 / bytes⌋: integers, so that every node ranks alike."""


class Admission(IntEnum):
    """What became of an added transaction."""

    READY = 1
    """Can be included now: every earlier nonce of the account is included or waiting here."""
    WAITING = 2
    """An earlier nonce is missing."""
    KNOWN = 3
    """It was here already; nothing changed."""


@dataclass(frozen=True, slots=True)
class Added:
    admission: Admission
    displaced: tuple[Hash, ...]
    """Ids that made room: the replaced one of the same nonce, and those evicted."""


class Mempool:
    """Checked transactions that wait for a block."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = held = limits or Limits()
        self._paying = Lane(held.count_max, held.bytes_max)
        self._free = Lane(held.free_count_max, held.free_bytes_max)
        self._queues: dict[Address, Queue] = {}
        self._by_id: dict[Hash, CheckedTransaction] = {}
        self._arrivals = 0
        self._heads, self._tails = Ranking(), Ranking()
        self._expiring: dict[Height, dict[Hash, None]] = {}
        self._unannounced: deque[Hash] = deque()

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def bytes_held(self) -> int:
        """Sum of the encoded transactions that wait."""
        return self._paying.bytes + self._free.bytes

    def contains(self, id: Hash) -> bool:
        return id in self._by_id

    def get(self, id: Hash) -> CheckedTransaction | None:
        return self._by_id.get(id)

    def pending_nonce(self, account: Address, account_nonce: int) -> int:
        """The nonce the account's next transaction should carry, given that of the state."""
        queue = self._queues.get(account)
        nonce = account_nonce
        while queue is not None and nonce in queue.entries:
            nonce += 1
        return nonce

    def add(
        self,
        transaction: CheckedTransaction,
        account_nonce: int,
        now_height: Height,
        *,
        announce: bool = True,
    ) -> Added:
        """Take in a transaction whose sender's nonce in the finalized state is `account_nonce`.

        `announce` queues it for gossip; leave it out for what came by gossip.

        Raises Invalid: `expired`, `nonce_too_low`, `nonce_too_high`, `replacement_underpriced`;
        Unavailable: `mempool_full`.
        """
        if transaction.id in self._by_id:
            return Added(Admission.KNOWN, ())
        queue = self._queues.get(transaction.sender)
        if queue is not None:
            account_nonce = max(account_nonce, queue.next_nonce)
        self._check_admissible(transaction, account_nonce, now_height)
        self._advance(transaction.sender, account_nonce)
        queue = self._queues.get(transaction.sender)
        replaced = queue.entries.get(transaction.body.nonce) if queue else None
        if replaced is not None:
            check_replacement(replaced.transaction, transaction)
        rank = self._rank(transaction)
        ready = transaction.body.nonce <= self.pending_nonce(transaction.sender, account_nonce)
        displaced = self._make_room(transaction, rank[0] if ready else WAITING_PRICE, replaced)
        self._insert(transaction, rank, account_nonce)
        if announce:
            self._unannounced.append(transaction.id)
            self._trim_unannounced()
        return Added(Admission.READY if ready else Admission.WAITING, displaced)

    def select(
        self, bytes_max: int, count_max: int, ahead: Mapping[Address, int]
    ) -> tuple[CheckedTransaction, ...]:
        """Transactions for a block: a few free ones, then best price first, nonces of each account
        in order.

        `ahead` tells the nonces of accounts that the state which the block builds on has moved
        beyond the finalized one; what they have passed is left out. A transaction that does not fit
        ends its account's turn; after `MISFITS_MAX` of them the block counts as full.
        """
        return tuple(choose(self._heads, self._queues, ahead, bytes_max, count_max))

    def forget_finalized(self, nonces: Mapping[Address, int], height: Height) -> None:
        """A block of `height` is final: `nonces` are the new ones of the accounts it touched.

        Drops what it included or made impossible, and what expires before the next block.
        """
        for account, nonce in nonces.items():
            self._advance(account, nonce)
        # Few keys: no transaction lives longer than the protocol's lifetime in blocks.
        for expiry in [expiry for expiry in self._expiring if expiry <= height]:
            for id in list(self._expiring[expiry]):
                self.remove(id)

    def remove(self, id: Hash) -> None:
        """Drop a transaction the ledger turned out to refuse; unknown ones are no error."""
        transaction = self._by_id.get(id)
        if transaction is None:
            return
        queue = self._queues[transaction.sender]
        self._drop(queue, transaction.body.nonce)
        self._place(transaction.sender, queue)

    def take_unannounced(self, bytes_max: int) -> tuple[CheckedTransaction, ...]:
        """Transactions not yet gossiped, earliest first, up to `bytes_max` encoded bytes."""
        batch: list[CheckedTransaction] = []
        while self._unannounced:
            transaction = self._by_id.get(self._unannounced[0])
            if transaction is not None:
                bytes_max -= len(transaction.raw)
                if bytes_max < 0:
                    break
                batch.append(transaction)
            self._unannounced.popleft()
        return tuple(batch)

    def _check_admissible(
        self, transaction: CheckedTransaction, account_nonce: int, now_height: Height
    ) -> None:
        body = transaction.body
        if body.expires <= now_height:
            raise Invalid(
                "expired", f"could be included up to height {body.expires}, {now_height} is final"
            )
        if body.nonce < account_nonce:
            raise Invalid(
                "nonce_too_low",
                f"nonce {body.nonce} is used; the account's next is {account_nonce}",
                expected=account_nonce,
            )
        if body.nonce >= account_nonce + self._limits.account_count_max:
            raise Invalid(
                "nonce_too_high",
                f"nonce {body.nonce} is too far ahead; the account's next is {account_nonce}",
                expected=account_nonce,
            )

    def _rank(self, transaction: CheckedTransaction) -> Rank:
        self._arrivals += 1
        price = (transaction.body.fee << _PRICE_SHIFT) // len(transaction.raw)
        return (-price, self._arrivals, transaction.sender)

    def _lane(self, transaction: CheckedTransaction) -> Lane:
        return self._free if is_free(transaction) else self._paying

    def _make_room(
        self, transaction: CheckedTransaction, negated_price: int, replaced: Entry | None
    ) -> tuple[Hash, ...]:
        """Free what `transaction` needs, or nothing. Raises Unavailable(`mempool_full`)."""
        lane, going = self._lane(transaction), replaced.transaction if replaced else None
        same = going if going is not None and self._lane(going) is lane else None
        count, size = lane.excess(transaction, same)
        if lane is self._free:
            self._require_free_place(transaction.sender, count, size)
            victims = []
        else:
            victims = self._victims(transaction.sender, negated_price, count, size)
        if going is not None:
            victims.append(going)
        for victim in victims:
            self.remove(victim.id)
        return tuple(victim.id for victim in victims)

    def _require_free_place(self, sender: Address, count: int, size: int) -> None:
        queue = self._queues.get(sender)
        held = sum(is_free(e.transaction) for e in queue.entries.values()) if queue else 0
        if count > 0 or size > 0 or held >= self._limits.free_account_count_max:
            raise Unavailable("mempool_full", "offer a fee, or try again in a minute")

    def _victims(
        self, newcomer: Address, negated_price: int, count: int, size: int
    ) -> list[CheckedTransaction]:
        """Cheapest paying tails that free `count` places and `size` bytes.

        Raises Unavailable(`mempool_full`) where that takes one of the same account or of a price
        not below the newcomer's.
        """
        victims: list[CheckedTransaction] = []
        walk = self._tails.from_worst() if count > 0 or size > 0 else iter(())
        while count > 0 or size > 0:
            worst = next(walk, None)
            if worst is None or worst[0] <= negated_price or worst[2] == newcomer:
                raise Unavailable("mempool_full", "offer a higher fee, or try again in a minute")
            queue = self._queues[worst[2]]
            victim = queue.entries[queue.last_nonce].transaction
            victims.append(victim)
            count, size = count - 1, size - len(victim.raw)
        return victims

    def _insert(self, transaction: CheckedTransaction, rank: Rank, account_nonce: int) -> None:
        account, nonce = transaction.sender, transaction.body.nonce
        queue = self._queues.get(account)
        if queue is None:
            queue = self._queues[account] = Queue(account_nonce)
        invariant(nonce not in queue.entries, "a replaced transaction is gone before the new comes")
        queue.put(nonce, Entry(transaction, rank))
        self._by_id[transaction.id] = transaction
        self._lane(transaction).enter(transaction)
        self._expiring.setdefault(transaction.body.expires, {})[transaction.id] = None
        self._place(account, queue)

    def _drop(self, queue: Queue, nonce: int) -> None:
        """Take one out; the caller then calls `_place`."""
        transaction = queue.take(nonce)
        del self._by_id[transaction.id]
        self._lane(transaction).leave(transaction)
        expiring = self._expiring[transaction.body.expires]
        del expiring[transaction.id]
        if not expiring:
            del self._expiring[transaction.body.expires]

    def _advance(self, account: Address, nonce: int) -> None:
        """The account's nonce is known to be `nonce`: what waits below it is included or void."""
        queue = self._queues.get(account)
        if queue is None or nonce <= queue.next_nonce:
            return
        for passed in [waiting for waiting in queue.entries if waiting < nonce]:
            self._drop(queue, passed)
        queue.next_nonce = nonce
        self._place(account, queue)

    def _place(self, account: Address, queue: Queue) -> None:
        """Bring both rankings in line with the account's queue; forget an empty one."""
        head, tail = queue.head(), queue.tail()
        self._heads.place(account, head.rank if head else None)
        rank = tail.rank if tail and not is_free(tail.transaction) else None
        if rank is not None and queue.has_gap():
            rank = (WAITING_PRICE, *rank[1:])
        self._tails.place(account, rank)
        if not queue.entries:
            del self._queues[account]

    def _trim_unannounced(self) -> None:
        if len(self._unannounced) > 2 * self._limits.count_max:
            # Nobody takes them (no peers): keep only what still waits.
            self._unannounced = deque(id for id in self._unannounced if id in self._by_id)
