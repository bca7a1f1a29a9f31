"""The planner, event by event."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from p2p_aios.sync.events import (
    Ask,
    BlocksReceived,
    Deliver,
    Event,
    Output,
    PeerAnnounced,
    PeerLost,
    Penalize,
    RequestFailed,
    Tick,
    TipFinalized,
)
from p2p_aios.sync.peers import FAULTS_MAX, REST_MS
from p2p_aios.sync.planner import (
    LAG_BLOCKS,
    OVERDUE_MS,
    REQUEST_TIMEOUT_MS,
    STALL_MS,
    SyncPlanner,
)
from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.request import RANGE_BLOCKS_MAX, GetBlocks
from p2p_aios.units import Height, Millis
from tests.sync.chain_world import CHAIN_ID, certificate_of, chain, hash_at, is_sealed

CHAIN = chain(300)


class Desk:
    """A planner and its clock."""

    def __init__(self, height: int = 0, blocks: list[FinalizedBlock] = CHAIN) -> None:
        self.blocks, self.now_ms = blocks, 0
        self.planner = SyncPlanner(
            Height(height), hash_at(blocks, height), is_sealed, Millis(self.now_ms)
        )

    def step(self, event: Event) -> tuple[Output, ...]:
        return self.planner.step(event, Millis(self.now_ms))

    def announce(self, peer: bytes, height: int) -> tuple[Output, ...]:
        return self.step(PeerAnnounced(peer, Height(height)))

    def answer(
        self, ask: Ask, blocks: Sequence[FinalizedBlock] | None = None
    ) -> tuple[Output, ...]:
        start = ask.request.start - 1
        if blocks is None:
            blocks = self.blocks[start : start + ask.request.count]
        return self.step(BlocksReceived(ask.peer, ask.number, tuple(blocks)))

    def tip(self, height: int) -> tuple[Output, ...]:
        return self.step(TipFinalized(Height(height), hash_at(self.blocks, height)))

    def wait(self, ms: int) -> tuple[Output, ...]:
        self.now_ms += ms
        return self.step(Tick())


def only_ask(outputs: tuple[Output, ...]) -> Ask:
    (ask,) = outputs
    assert isinstance(ask, Ask)
    return ask


def heights(deliver: Output) -> list[int]:
    assert isinstance(deliver, Deliver)
    return [each.block.header.height for each in deliver.blocks]


def test_a_range_is_asked_for_delivered_and_followed() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 100))
    assert ask.request == GetBlocks(Height(1), RANGE_BLOCKS_MAX)
    deliver, following = desk.answer(ask)
    assert heights(deliver) == list(range(1, 41))  # to the end of its epoch
    assert isinstance(following, Ask)
    assert following.request == GetBlocks(Height(65), 36)
    assert desk.answer(following) == ()  # what follows waits until the first run is executed
    (deliver,) = desk.tip(40)
    assert heights(deliver) == list(range(41, 81))
    (deliver,) = desk.tip(80)
    assert heights(deliver) == list(range(81, 101))
    assert desk.tip(100) == ()


def test_several_peers_are_asked_at_once_and_one_only_once() -> None:
    desk = Desk()
    asks = [only_ask(desk.announce(name, 300)) for name in (b"a", b"b", b"c", b"d")]
    assert [ask.request.start for ask in asks] == [1, 65, 129, 193]
    assert desk.announce(b"e", 300) == ()  # no more than REQUESTS_MAX
    assert desk.announce(b"a", 300) == ()


def test_answers_out_of_order_are_put_in_order() -> None:
    desk = Desk()
    first, second = (only_ask(desk.announce(name, 100)) for name in (b"a", b"b"))
    assert desk.answer(second) == ()
    (deliver,) = desk.answer(first)
    assert heights(deliver)[0] == 1


def test_a_small_lag_is_left_to_consensus_until_it_stalls() -> None:
    desk = Desk(height=100)
    assert desk.announce(b"a", 100 + LAG_BLOCKS - 1) == ()
    assert desk.planner.wake_at_ms(Millis(0)) == STALL_MS
    assert desk.wait(STALL_MS - 1) == ()
    assert only_ask(desk.wait(1)).request == GetBlocks(Height(101), LAG_BLOCKS - 1)


def test_nobody_ahead_means_nothing_to_do() -> None:
    desk = Desk(height=100)
    desk.announce(b"a", 100)
    assert desk.wait(10 * STALL_MS) == ()
    assert desk.planner.wake_at_ms(Millis(desk.now_ms)) is None


def test_what_consensus_finalizes_meanwhile_is_not_delivered() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 60))
    desk.tip(30)
    (deliver,) = desk.answer(ask)
    assert heights(deliver) == list(range(31, 41))


def test_a_tip_beyond_the_delivered_run_moves_the_edge() -> None:
    desk = Desk()
    desk.answer(only_ask(desk.announce(b"a", 60)))  # delivers 1..40, holds 41..60
    (deliver,) = desk.tip(45)
    assert heights(deliver) == list(range(46, 61))


def test_a_timed_out_request_goes_to_another_peer() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 60))
    only_ask(desk.wait(REQUEST_TIMEOUT_MS))
    again = only_ask(desk.announce(b"b", 60) or desk.wait(OVERDUE_MS))
    assert (again.peer, again.request) == (b"b", ask.request)
    assert desk.answer(ask) == ()  # too late: the number is no longer open


def test_an_overdue_request_is_made_to_another_peer_as_well() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 60))
    assert desk.announce(b"b", 60) == ()
    assert desk.planner.wake_at_ms(Millis(0)) == OVERDUE_MS
    again = only_ask(desk.wait(OVERDUE_MS))
    assert (again.peer, again.request) == (b"b", ask.request)
    assert heights(desk.answer(ask)[0]) == list(range(1, 41))  # late, and welcome
    assert not any(isinstance(output, Penalize) for output in desk.answer(again))


def test_a_proven_peer_comes_first_and_is_waited_for() -> None:
    desk = Desk()
    first = only_ask(desk.announce(b"b", 40))
    assert heights(desk.answer(first)[0]) == list(range(1, 41))
    desk.tip(40)
    for peer in (b"a", b"b"):
        assert desk.announce(peer, 40 + LAG_BLOCKS - 1) == ()
    assert only_ask(desk.wait(STALL_MS)).peer == b"b"
    assert desk.wait(OVERDUE_MS) == ()
    assert only_ask(desk.wait(REQUEST_TIMEOUT_MS)).peer == b"a"


def test_failed_and_lost_requests_are_asked_again() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 60))
    again = only_ask(desk.step(RequestFailed(b"a", ask.number)))
    assert again.request == ask.request
    desk.announce(b"b", 60)
    moved = only_ask(desk.step(PeerLost(again.peer)))
    assert (moved.peer, moved.request) == (b"b", ask.request)


def test_a_peer_that_fails_again_and_again_rests() -> None:
    desk = Desk()
    outputs = desk.announce(b"a", 60)
    for _ in range(FAULTS_MAX):
        outputs = desk.step(RequestFailed(b"a", only_ask(outputs).number))
    assert outputs == ()
    assert desk.planner.wake_at_ms(Millis(0)) == REST_MS
    assert desk.wait(REST_MS - 1) == ()
    assert only_ask(desk.wait(1)).peer == b"a"


def test_an_empty_answer_is_a_claim_withdrawn() -> None:
    desk = Desk()
    assert desk.answer(only_ask(desk.announce(b"a", 10**9)), []) == ()
    assert desk.wait(10**6) == ()
    assert only_ask(desk.announce(b"a", 60)).request.start == 1


def test_a_short_answer_is_completed() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 60))
    deliver, following = desk.answer(ask, CHAIN[:10])
    assert heights(deliver) == list(range(1, 11))
    assert isinstance(following, Ask)
    assert following.request == GetBlocks(Height(11), 50)


def test_a_range_without_certificate_waits_for_one() -> None:
    blocks = chain(60, certified=lambda height: height == 25)
    desk = Desk(blocks=blocks)
    first = only_ask(desk.announce(b"a", 30))
    second = only_ask(desk.answer(first, blocks[:20]))
    assert second.request == GetBlocks(Height(21), 10)
    deliver, *_ = desk.answer(second)
    assert heights(deliver) == list(range(1, 26))


def test_answers_from_another_peer_or_number_are_ignored() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 60))
    assert desk.answer(replace(ask, peer=b"b")) == ()
    assert desk.answer(replace(ask, number=ask.number + 1)) == ()
    assert isinstance(desk.answer(ask)[0], Deliver)


def test_a_malformed_range_is_penalized_and_asked_elsewhere() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 60))
    desk.announce(b"b", 60)
    penalty, again = desk.answer(ask, CHAIN[1:10])
    assert isinstance(penalty, Penalize)
    assert (penalty.peer, penalty.code) == (b"a", "range_heights")
    assert isinstance(again, Ask)
    assert again.peer == b"b"


@pytest.mark.parametrize("sealed", [True, False])
def test_a_fork_of_our_finalized_block_is_its_senders_fault(sealed: bool) -> None:
    desk = Desk(height=10)
    fork = chain(60, mark=b"fork", sealed=sealed)
    penalty, _ = desk.answer(only_ask(desk.announce(b"a", 60)), fork[10:])
    assert isinstance(penalty, Penalize)
    assert (penalty.peer, penalty.code) == (b"a", "range_unlinked")


def test_a_certificate_that_does_not_verify_is_its_senders_fault() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 40))
    fork = chain(40, mark=b"fork", sealed=False)
    penalty, again = desk.answer(ask, fork)
    assert isinstance(penalty, Penalize)
    assert (penalty.peer, penalty.code) == (b"a", "certificate_invalid")
    assert isinstance(again, Ask)
    (deliver,) = desk.answer(again)
    assert isinstance(deliver, Deliver)


def test_one_bad_certificate_costs_one_verification() -> None:
    seen = []

    def counting(certificate: object) -> bool:
        seen.append(certificate)
        return False

    planner = SyncPlanner(Height(0), CHAIN_ID, counting, Millis(0))
    (ask,) = planner.step(PeerAnnounced(b"a", Height(40)), Millis(0))
    assert isinstance(ask, Ask)
    planner.step(BlocksReceived(b"a", ask.number, tuple(CHAIN[:40])), Millis(0))
    assert len(seen) == 1


def test_an_open_end_that_another_contradicts_is_asked_for_again() -> None:
    """Neither side is proved wrong, so nobody is penalized; the truth is found in the end."""
    desk = Desk()
    first, second = (only_ask(desk.announce(name, 80)) for name in (b"a", b"b"))
    fork = [replace(each, certificate=None) for each in chain(64, mark=b"fork")]
    assert desk.answer(second) == ()
    again = only_ask(desk.answer(first, fork))
    assert (again.peer, again.request) == (b"b", first.request)
    (deliver, *_) = desk.answer(again)
    assert heights(deliver) == list(range(1, 41))


def test_what_contradicts_an_open_end_is_dropped_with_it() -> None:
    """Else a liar after the gap could hold back for ever what honest peers can prove."""
    desk = Desk(blocks=chain(80, certified=lambda height: height > 64))
    first, second = (only_ask(desk.announce(name, 80)) for name in (b"a", b"b"))
    fork = chain(80, mark=b"fork", sealed=False)
    assert desk.answer(second, fork[64:]) == ()
    (deliver,) = desk.answer(first)
    assert heights(deliver) == list(range(1, 41))
    again = only_ask(desk.tip(40))
    assert (again.peer, again.request) == (b"b", GetBlocks(Height(41), 40))
    penalty, again = desk.answer(again, fork[40:])
    assert isinstance(penalty, Penalize)
    assert penalty.peer == b"b"
    assert isinstance(again, Ask)
    (deliver,) = desk.answer(again)
    assert heights(deliver) == list(range(41, 81))


def test_a_forged_epoch_change_is_not_delivered() -> None:
    desk = Desk()
    ask = only_ask(desk.announce(b"a", 60))
    open_end = [replace(each, certificate=None) for each in CHAIN[:41]]
    outputs = desk.answer(ask, open_end)
    assert not any(isinstance(output, Deliver | Penalize) for output in outputs)


def test_certificate_helper_seals_what_the_planner_accepts() -> None:
    assert is_sealed(certificate_of(CHAIN[0].block.header))
    assert not is_sealed(certificate_of(CHAIN[0].block.header, sealed=False))
