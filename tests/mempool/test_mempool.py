"""Admission, order, replacement, expiry, eviction."""

from collections.abc import Mapping

import pytest

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.mempool.lanes import Limits
from p2p_aios.mempool.mempool import Added, Admission, Mempool
from p2p_aios.mempool.queue import FREE_BYTES_MAX, FREE_COUNT_MAX, MISFITS_MAX
from p2p_aios.types.transaction import CheckedTransaction
from p2p_aios.units import Address, Height
from tests.mempool.pool_world import BYTES, account, transaction

NOW = Height(10)
READY = Added(Admission.READY, ())


def fill(pool: Mempool, *transactions: CheckedTransaction) -> None:
    for each in transactions:
        pool.add(each, 0, NOW)


def chosen(
    pool: Mempool,
    bytes_max: int = 10**9,
    count_max: int = 10**9,
    ahead: Mapping[Address, int] | None = None,
) -> list[tuple[int, int]]:
    """(account, nonce) in the order of selection."""
    picked = pool.select(bytes_max, count_max, ahead or {})
    return [(int.from_bytes(each.sender, "big"), each.body.nonce) for each in picked]


def code_of(pool: Mempool, wrong: CheckedTransaction, nonce: int = 0) -> str:
    with pytest.raises((Invalid, Unavailable)) as caught:
        pool.add(wrong, nonce, NOW)
    return caught.value.code


def test_fee_decides_across_accounts_and_nonce_within_one() -> None:
    pool = Mempool()
    fill(pool, transaction(1, 0, 10), transaction(1, 1, 90), transaction(2, 0, 50))
    fill(pool, transaction(3, 0, 20), transaction(3, 1, 5))
    assert chosen(pool) == [(2, 0), (3, 0), (1, 0), (1, 1), (3, 1)]


def test_price_is_fee_per_byte() -> None:
    pool = Mempool()
    fill(pool, transaction(1, 0, 100, size=200), transaction(2, 0, 60, size=100))
    assert chosen(pool) == [(2, 0), (1, 0)]


def test_the_earlier_arrival_wins_a_tie() -> None:
    pool = Mempool()
    fill(pool, *(transaction(n, 0) for n in (5, 3, 9, 1)))
    assert chosen(pool) == [(5, 0), (3, 0), (9, 0), (1, 0)]


def test_a_gap_holds_back_what_follows() -> None:
    pool = Mempool()
    assert pool.add(transaction(1, 2), 0, NOW) == Added(Admission.WAITING, ())
    assert pool.add(transaction(1, 0), 0, NOW) == READY
    assert chosen(pool) == [(1, 0)]
    assert pool.pending_nonce(account(1), 0) == 1
    assert pool.add(transaction(1, 1), 0, NOW) == READY
    assert chosen(pool) == [(1, 0), (1, 1), (1, 2)]
    assert pool.pending_nonce(account(1), 0) == 3
    assert pool.pending_nonce(account(2), 7) == 7


def test_selection_starts_where_the_parent_state_stands() -> None:
    pool = Mempool()
    fill(pool, *(transaction(1, n) for n in range(4)), transaction(2, 0, 500))
    ahead = {account(1): 2, account(2): 1}
    assert chosen(pool, ahead=ahead) == [(1, 2), (1, 3)]


def test_selection_obeys_bytes_and_count() -> None:
    pool = Mempool()
    fill(pool, transaction(1, 0, 900, size=300), transaction(1, 1, 900, size=10))
    fill(pool, transaction(2, 0, 100), transaction(3, 0, 90))
    assert chosen(pool, bytes_max=250) == [(2, 0), (3, 0)]  # (1, 1) must not jump (1, 0)
    assert chosen(pool, bytes_max=199) == [(2, 0)]
    assert chosen(pool, count_max=1) == [(1, 0)]
    assert chosen(pool, count_max=0) == []


def test_a_full_block_ends_the_search() -> None:
    pool = Mempool()
    fill(pool, *(transaction(n, 0, 900, size=300) for n in range(1, MISFITS_MAX + 2)))
    fill(pool, transaction(99, 0, 1, size=50))
    assert chosen(pool, bytes_max=100) == []


def test_free_ones_go_first_though_blocks_are_full() -> None:
    pool = Mempool()
    fill(pool, *(transaction(sender, 0, 10_000) for sender in range(1, 6)))
    fill(pool, transaction(8, 0, 0), transaction(8, 1, 0), transaction(7, 0, 0))
    assert chosen(pool, count_max=4) == [(8, 0), (7, 0), (1, 0), (2, 0)]
    assert chosen(pool)[-1] == (8, 1), "the next one of an account waits its turn"
    assert chosen(pool, count_max=1) == [(8, 0)]


def test_the_lane_of_free_ones_is_bounded() -> None:
    pool = Mempool()
    fill(pool, transaction(500, 0, 10_000))
    fill(pool, *(transaction(sender, 0, 0) for sender in range(1, FREE_COUNT_MAX + 3)))
    assert chosen(pool)[FREE_COUNT_MAX - 1 :] == [
        (FREE_COUNT_MAX, 0),
        (500, 0),
        (FREE_COUNT_MAX + 1, 0),
        (FREE_COUNT_MAX + 2, 0),
    ]
    large = Mempool()
    fill(large, transaction(500, 0, 10_000))
    half = FREE_BYTES_MAX // 2
    fill(large, *(transaction(sender, 0, 0, size=half) for sender in (1, 2, 3)))
    assert chosen(large) == [(1, 0), (2, 0), (500, 0), (3, 0)]
    assert chosen(large, bytes_max=half) == [(1, 0)]


def test_a_full_pool_still_takes_free_ones() -> None:
    pool = Mempool(Limits(count_max=2, bytes_max=2 * BYTES, free_count_max=2))
    fill(pool, transaction(1, 0, 10**9), transaction(2, 0, 10**9))
    assert pool.add(transaction(3, 0, 0), 0, NOW) == READY
    assert pool.add(transaction(4, 0, 0), 0, NOW) == READY
    assert code_of(pool, transaction(5, 0, 0)) == "mempool_full"
    assert code_of(pool, transaction(5, 0, 1)) == "mempool_full"
    assert pool.add(transaction(5, 0, 2 * 10**9), 0, NOW).displaced == (
        transaction(2, 0, 10**9).id,
    )
    assert chosen(pool) == [(3, 0), (4, 0), (5, 0), (1, 0)]


def test_free_ones_take_no_place_of_those_that_pay() -> None:
    pool = Mempool(Limits(count_max=1, free_count_max=100, free_bytes_max=3 * BYTES))
    fill(pool, *(transaction(sender, 0, 0) for sender in (1, 2, 3)))
    assert code_of(pool, transaction(4, 0, 0)) == "mempool_full"
    assert pool.add(transaction(4, 0, 1), 0, NOW) == READY
    pool.remove(transaction(1, 0, 0).id)
    assert pool.add(transaction(1, 0, 0), 0, NOW) == READY


def test_no_account_takes_all_free_places() -> None:
    pool = Mempool(Limits(free_count_max=4, free_account_count_max=2))
    fill(pool, transaction(1, 0, 0), transaction(1, 1, 5), transaction(1, 2, 0))
    assert code_of(pool, transaction(1, 3, 0)) == "mempool_full"
    assert pool.add(transaction(1, 3, 5), 0, NOW) == READY
    assert pool.add(transaction(2, 0, 0), 0, NOW) == READY


def test_a_fee_takes_a_free_one_out_of_its_place() -> None:
    pool = Mempool(Limits(count_max=1, free_count_max=1))
    fill(pool, transaction(1, 0, 0))
    assert code_of(pool, transaction(1, 0, 0, salt=1)) == "replacement_underpriced"
    assert pool.add(transaction(1, 0, 1), 0, NOW).displaced == (transaction(1, 0, 0).id,)
    assert pool.add(transaction(2, 0, 0), 0, NOW) == READY
    assert pool.bytes_held == 2 * BYTES


def test_a_free_one_counts_once_where_the_parent_state_is_ahead() -> None:
    pool = Mempool()
    fill(pool, transaction(1, 0, 0), transaction(1, 1, 5000), transaction(2, 0, 4000))
    assert chosen(pool) == [(1, 0), (1, 1), (2, 0)]
    assert chosen(pool, ahead={account(1): 1}) == [(2, 0), (1, 1)]


def test_a_known_transaction_changes_nothing() -> None:
    pool = Mempool()
    fill(pool, transaction(1, 0))
    assert pool.add(transaction(1, 0), 0, NOW) == Added(Admission.KNOWN, ())
    assert len(pool) == 1
    assert pool.bytes_held == BYTES


def test_replacement_takes_a_tenth_more() -> None:
    pool = Mempool()
    old, low, high = (transaction(1, 0, fee) for fee in (1000, 1099, 1100))
    fill(pool, old)
    with pytest.raises(Invalid) as caught:
        pool.add(low, 0, NOW)
    assert (caught.value.code, caught.value.details) == ("replacement_underpriced", {"least": 1100})
    assert pool.contains(old.id)
    assert pool.add(high, 0, NOW) == Added(Admission.READY, (old.id,))
    assert pool.get(old.id) is None
    assert pool.get(high.id) is high
    assert len(pool) == 1


def test_replacement_rounds_up() -> None:
    pool = Mempool()
    fill(pool, transaction(1, 0, 5))
    assert code_of(pool, transaction(1, 0, 5, salt=1)) == "replacement_underpriced"
    assert pool.add(transaction(1, 0, 6), 0, NOW).displaced


@pytest.mark.parametrize(
    ("wrong", "nonce", "code"),
    [
        (transaction(1, 4), 5, "nonce_too_low"),
        (transaction(1, 69), 5, "nonce_too_high"),
        (transaction(1, 5, expires=10), 5, "expired"),
    ],
)
def test_refusals(wrong: CheckedTransaction, nonce: int, code: str) -> None:
    pool = Mempool()
    assert code_of(pool, wrong, nonce) == code
    assert len(pool) == 0


def test_edges_of_admission() -> None:
    pool = Mempool()
    assert pool.add(transaction(1, 68, expires=11), 5, NOW).admission == Admission.WAITING
    assert pool.add(transaction(1, 5, expires=11), 5, NOW).admission == Admission.READY


def test_finalized_nonces_and_expired_ones_are_forgotten() -> None:
    pool = Mempool()
    fill(
        pool, *(transaction(1, n, expires=20 + n) for n in range(4)), transaction(2, 0, expires=11)
    )
    pool.forget_finalized({account(1): 2, account(7): 1}, Height(11))
    assert chosen(pool, ahead={account(1): 2}) == [(1, 2), (1, 3)]
    pool.forget_finalized({}, Height(22))
    assert len(pool) == 1  # nonce 3 waits for another nonce 2
    assert pool.pending_nonce(account(1), 2) == 2
    pool.forget_finalized({}, Height(10**9))
    assert (len(pool), pool.bytes_held) == (0, 0)


def test_a_block_with_a_foreign_transaction_of_the_same_nonce_voids_ours() -> None:
    pool = Mempool()
    fill(pool, transaction(1, 0), transaction(1, 1))
    pool.forget_finalized({account(1): 1}, NOW)
    assert not pool.contains(transaction(1, 0).id)
    assert pool.contains(transaction(1, 1).id)


def test_a_nonce_learned_at_admission_drops_what_it_passed() -> None:
    pool = Mempool()
    fill(pool, transaction(1, 0), transaction(1, 1))
    pool.add(transaction(1, 3), 2, NOW)
    assert len(pool) == 1
    assert code_of(pool, transaction(1, 1), 0) == "nonce_too_low"  # a stale state is not believed


def test_the_cheapest_tail_makes_room() -> None:
    pool = Mempool(Limits(count_max=3))
    fill(pool, transaction(1, 0, 10), transaction(1, 1, 90), transaction(2, 0, 50))
    assert pool.add(transaction(3, 0, 60), 0, NOW).displaced == (transaction(2, 0, 50).id,)
    assert code_of(pool, transaction(4, 0, 60)) == "mempool_full"  # no dearer than the cheapest
    assert chosen(pool) == [(3, 0), (1, 0), (1, 1)]


def test_an_account_cannot_push_out_its_own() -> None:
    pool = Mempool(Limits(count_max=2))
    fill(pool, transaction(1, 0, 10), transaction(1, 1, 10))
    assert code_of(pool, transaction(1, 2, 99)) == "mempool_full"


def test_bytes_are_bounded_too() -> None:
    pool = Mempool(Limits(bytes_max=250))
    fill(pool, transaction(1, 0, 10), transaction(2, 0, 20))
    displaced = pool.add(transaction(3, 0, 999, size=200), 0, NOW).displaced
    assert displaced == (transaction(1, 0, 10).id, transaction(2, 0, 20).id)
    assert pool.bytes_held == 200


def test_nothing_is_lost_to_a_newcomer_that_does_not_fit() -> None:
    pool = Mempool(Limits(bytes_max=250))
    fill(pool, transaction(1, 0, 10), transaction(2, 0, 999))
    assert code_of(pool, transaction(3, 0, 400, size=200)) == "mempool_full"
    assert len(pool) == 2


def test_replacing_in_a_full_pool_needs_no_room() -> None:
    pool = Mempool(Limits(count_max=1))
    fill(pool, transaction(1, 0, 10))
    assert pool.add(transaction(1, 0, 20), 0, NOW).displaced == (transaction(1, 0, 10).id,)


def test_what_waits_behind_a_gap_goes_first() -> None:
    pool = Mempool(Limits(count_max=2))
    fill(pool, transaction(1, 5, 10**9), transaction(2, 0, 50))
    assert code_of(pool, transaction(3, 5, 10**9)) == "mempool_full"
    assert pool.add(transaction(4, 0, 1), 0, NOW).displaced == (transaction(1, 5, 10**9).id,)


def test_announcements_come_once_in_order_of_arrival() -> None:
    pool = Mempool()
    fill(pool, *(transaction(n, 0) for n in (4, 2, 3)))
    pool.add(transaction(9, 0), 0, NOW, announce=False)
    pool.remove(transaction(2, 0).id)
    assert [t.sender for t in pool.take_unannounced(BYTES)] == [account(4)]
    assert pool.take_unannounced(BYTES - 1) == ()
    assert [t.sender for t in pool.take_unannounced(10**6)] == [account(3)]
    assert pool.take_unannounced(10**6) == ()


def test_announcements_are_bounded_when_nobody_takes_them() -> None:
    pool = Mempool(Limits(count_max=2))
    for nonce in range(100):
        pool.add(transaction(1, nonce), nonce, NOW)
        pool.forget_finalized({account(1): nonce + 1}, NOW)
    assert len(pool._unannounced) <= 4
