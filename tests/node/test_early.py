"""What came too early is held within its bounds, in order, and given back whole."""

from p2p_aios.node.early import (
    EARLY_BYTES_MAX,
    EARLY_MAX,
    EARLY_PER_SENDER_MAX,
    EarlyTransactions,
)
from p2p_aios.types.transaction import CheckedTransaction
from p2p_aios.units import Height
from tests.mempool.pool_world import transaction

UNTIL = Height(9)


def hold(early: EarlyTransactions, *transactions: CheckedTransaction) -> list[bool]:
    """Whether there was room for each."""
    had_room = []
    for each in transactions:
        had_room.append(early.has_room(each))
        if had_room[-1]:
            early.hold(each, UNTIL)
    return had_room


def test_it_is_given_back_once_in_the_order_it_came() -> None:
    early = EarlyTransactions()
    sent = [transaction(sender, 0) for sender in (3, 1, 2)]
    assert hold(early, *sent) == [True] * 3
    assert list(early) == sent
    assert [(held.transaction, held.until) for held in early.take()] == [(t, 9) for t in sent]
    assert early.take() == ()
    assert hold(early, *sent) == [True] * 3, "each may be held again"


def test_twice_is_held_once() -> None:
    early = EarlyTransactions()
    assert hold(early, transaction(1, 0), transaction(1, 0)) == [True, False]
    assert len(early.take()) == 1


def test_a_sender_has_its_share() -> None:
    early = EarlyTransactions()
    flood = [transaction(1, nonce) for nonce in range(EARLY_PER_SENDER_MAX + 2)]
    assert hold(early, *flood) == [True] * EARLY_PER_SENDER_MAX + [False] * 2
    assert early.has_room(transaction(2, 0))
    early.take()
    assert early.has_room(flood[-1]), "shares begin anew"


def test_all_of_them_are_bounded() -> None:
    early = EarlyTransactions()
    assert all(hold(early, *(transaction(sender, 0) for sender in range(EARLY_MAX))))
    assert not early.has_room(transaction(EARLY_MAX, 0))
    large = EarlyTransactions()
    half = EARLY_BYTES_MAX // 2
    assert hold(
        large, *(transaction(sender, 0, size=size) for sender, size in enumerate((half, half, 1)))
    ) == [True, True, False]
