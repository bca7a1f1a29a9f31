"""The mempool against a model that keeps one list and searches it."""

from collections.abc import Callable

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.mempool.lanes import Limits
from p2p_aios.mempool.mempool import Admission, Mempool
from p2p_aios.types.transaction import CheckedTransaction
from p2p_aios.units import Address, Hash, Height
from tests.mempool.pool_world import account, transaction

ACCOUNTS = range(1, 5)
SPAN = 4
"""Nonces ahead that an account may use."""


class Model:
    """Waiting transactions in order of arrival, and the nonces of the accounts."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.waiting: list[CheckedTransaction] = []
        self.nonces = {account(number): 0 for number in ACCOUNTS}
        self.height = 0

    def at(self, sender: Address, nonce: int) -> CheckedTransaction | None:
        found = [t for t in self.waiting if (t.sender, t.body.nonce) == (sender, nonce)]
        return found[0] if found else None

    def price(self, item: CheckedTransaction) -> tuple[int, int]:
        arrival = self.waiting.index(item) if item in self.waiting else len(self.waiting)
        return (-((item.body.fee << 16) // len(item.raw)), arrival)

    def is_ready(self, item: CheckedTransaction) -> bool:
        earlier = range(self.nonces[item.sender], item.body.nonce)
        return all(self.at(item.sender, nonce) for nonce in earlier)

    def eviction_price(self, item: CheckedTransaction) -> tuple[int, int]:
        price, arrival = self.price(item)
        return (price if self.is_ready(item) else 0, arrival)

    def add(self, item: CheckedTransaction) -> str | tuple[Admission, tuple[Hash, ...]]:
        if item in self.waiting:
            return (Admission.KNOWN, ())
        nonce = self.nonces[item.sender]
        if item.body.expires <= self.height:
            return "expired"
        if item.body.nonce < nonce:
            return "nonce_too_low"
        if item.body.nonce >= nonce + SPAN:
            return "nonce_too_high"
        old = self.at(item.sender, item.body.nonce)
        if old and (item.body.fee * 10 < old.body.fee * 11 or item.body.fee == 0):
            return "replacement_underpriced"
        kept = [each for each in self.waiting if each != old]
        victims = self.victims(item, old)
        if victims is None:
            return "mempool_full"
        ready = self.is_ready(item)
        displaced = victims + ([old] if old else [])
        self.waiting = [each for each in kept if each not in victims] + [item]
        admission = Admission.READY if ready else Admission.WAITING
        return (admission, tuple(each.id for each in displaced))

    def fits(self, items: list[CheckedTransaction], sender: Address) -> bool:
        """Whether the pool may hold `items`, the last of which came from `sender`."""
        limits, lanes = self.limits, [[], []]  # type: ignore[var-annotated]
        for each in items:
            lanes[each.body.fee == 0].append(each)
        paying, free = lanes
        return (
            len(paying) <= limits.count_max
            and sum(len(each.raw) for each in paying) <= limits.bytes_max
            and len(free) <= limits.free_count_max
            and sum(len(each.raw) for each in free) <= limits.free_bytes_max
            and sum(each.sender == sender for each in free) <= limits.free_account_count_max
        )

    def victims(
        self, item: CheckedTransaction, old: CheckedTransaction | None
    ) -> list[CheckedTransaction] | None:
        victims: list[CheckedTransaction] = []
        last = [
            max((t for t in self.waiting if t.sender == sender), key=lambda t: t.body.nonce)
            for sender in sorted({t.sender for t in self.waiting})
        ]
        tails = [each for each in last if each.body.fee > 0 and item.body.fee > 0]
        tails.sort(key=self.eviction_price, reverse=True)
        while True:
            kept = [each for each in self.waiting if each not in victims and each != old]
            if self.fits([*kept, item], item.sender):
                return victims
            if not tails or tails[0].sender == item.sender:
                return None
            if self.eviction_price(tails[0])[0] <= self.eviction_price(item)[0]:
                return None
            victims.append(tails.pop(0))

    def select(self, bytes_max: int, count_max: int) -> list[CheckedTransaction]:
        chosen: list[CheckedTransaction] = []
        turn = dict(self.nonces)
        free = [i for i in self.waiting if i.body.fee == 0 and i.body.nonce == turn[i.sender]]
        for item in sorted(free, key=self.price)[:count_max]:
            if len(item.raw) > bytes_max:
                break
            chosen.append(item)
            bytes_max -= len(item.raw)
            turn[item.sender] += 1
        while len(chosen) < count_max:
            heads = [self.at(sender, nonce) for sender, nonce in turn.items()]
            present = [head for head in heads if head is not None]
            if not present:
                break
            best = min(present, key=self.price)
            if len(best.raw) > bytes_max:
                del turn[best.sender]
                continue
            chosen.append(best)
            bytes_max -= len(best.raw)
            turn[best.sender] += 1
        return chosen

    def finalize(self, nonces: dict[Address, int], height: int) -> None:
        self.nonces.update(nonces)
        self.height = height
        self.waiting = [
            item
            for item in self.waiting
            if item.body.nonce >= self.nonces[item.sender] and item.body.expires > height
        ]


class MempoolMachine(RuleBasedStateMachine):
    @initialize(
        limits=st.builds(
            Limits,
            count_max=st.integers(1, 8),
            bytes_max=st.sampled_from([300, 700, 10_000]),
            account_count_max=st.just(SPAN),
            free_count_max=st.integers(1, 5),
            free_bytes_max=st.sampled_from([250, 10_000]),
            free_account_count_max=st.integers(1, SPAN),
        )
    )
    def start(self, limits: Limits) -> None:
        self.model = Model(limits)
        self.pool = Mempool(limits)
        self.announced: list[CheckedTransaction] = []

    @rule(
        sender=st.sampled_from(ACCOUNTS),
        ahead=st.integers(-1, SPAN),
        fee=st.sampled_from([0, 1, 10, 11, 12, 100, 110]),
        lifetime=st.integers(0, 5),
        size=st.sampled_from([50, 100, 250]),
    )
    def add(self, sender: int, ahead: int, fee: int, lifetime: int, size: int) -> None:
        state_nonce = self.model.nonces[account(sender)]
        item = transaction(
            sender,
            max(0, state_nonce + ahead),
            fee,
            expires=self.model.height + lifetime,
            size=size,
        )
        expected = self.model.add(item)
        try:
            added = self.pool.add(item, state_nonce, Height(self.model.height))
        except (Invalid, Unavailable) as error:
            outcome: str | tuple[Admission, tuple[Hash, ...]] = error.code
        else:
            outcome = (added.admission, added.displaced)
        assert outcome == expected

    @rule(
        steps=st.lists(st.tuples(st.sampled_from(ACCOUNTS), st.integers(1, 3)), max_size=3),
        blocks=st.integers(1, 3),
    )
    def finalize(self, steps: list[tuple[int, int]], blocks: int) -> None:
        nonces = {account(n): self.model.nonces[account(n)] + more for n, more in steps}
        self.model.finalize(nonces, self.model.height + blocks)
        self.pool.forget_finalized(nonces, Height(self.model.height))

    @rule(bytes_max=st.integers(0, 800), count_max=st.integers(0, 10))
    def select(self, bytes_max: int, count_max: int) -> None:
        picked = self.pool.select(bytes_max, count_max, {})
        assert list(picked) == self.model.select(bytes_max, count_max)

    @rule(ahead=st.lists(st.integers(0, 3), min_size=4, max_size=4))
    def select_on_a_state_ahead(self, ahead: list[int]) -> None:
        """What the parent blocks passed is left out; the rest is in order and not missed."""
        nonces = {
            s: n + more for (s, n), more in zip(self.model.nonces.items(), ahead, strict=True)
        }
        turn = dict(nonces)
        for item in self.pool.select(10**9, 10**9, nonces):
            assert item.body.nonce == turn[item.sender]
            turn[item.sender] += 1
        for sender, nonce in turn.items():
            has_head = self.model.at(sender, self.model.nonces[sender]) is not None
            assert self.model.at(sender, nonce) is None or not has_head

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        if self.model.waiting:
            item = data.draw(st.sampled_from(self.model.waiting))
            self.model.waiting.remove(item)
            self.pool.remove(item.id)

    @rule(bytes_max=st.integers(0, 1000))
    def announce(self, bytes_max: int) -> None:
        batch = self.pool.take_unannounced(bytes_max)
        assert sum(len(item.raw) for item in batch) <= bytes_max
        assert all(item in self.model.waiting for item in batch)

    @invariant()
    def holds_the_same(self) -> None:
        assert len(self.pool) == len(self.model.waiting)
        assert self.pool.bytes_held == sum(len(item.raw) for item in self.model.waiting)
        assert all(self.pool.get(item.id) is item for item in self.model.waiting)

    @invariant()
    def neither_kind_takes_the_others_places(self) -> None:
        for sender in self.model.nonces:
            assert self.model.fits(self.model.waiting, sender)

    @invariant()
    def pending_nonces_follow_the_queue(self) -> None:
        for sender, nonce in self.model.nonces.items():
            expected = nonce
            while self.model.at(sender, expected):
                expected += 1
            assert self.pool.pending_nonce(sender, nonce) == expected


TestMempoolMachine: Callable[[], None] = MempoolMachine.TestCase
TestMempoolMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
