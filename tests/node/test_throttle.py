"""Blocks shrink on a node that cannot keep up, and grow again when it can."""

from dataclasses import replace

from p2p_aios.node.throttle import COUNT_MIN, Throttle, work_ms_max
from p2p_aios.params import MAINNET

DELTA_MS = MAINNET.delta_ms
BLOCK_MS = 6.0
"""What an empty block takes on the machine that these tests imagine."""


def chain_of(throttle: Throttle, blocks: int, cost_ms: float) -> list[int]:
    """Sizes of full blocks that this node builds where a transaction takes so long."""
    sizes = []
    for _ in range(blocks):
        sizes.append(throttle.count_max(DELTA_MS))
        throttle.note(sizes[-1], BLOCK_MS + sizes[-1] * cost_ms)
    return sizes


def test_half_of_what_the_time_outs_leave_goes_to_the_builder() -> None:
    assert work_ms_max(DELTA_MS) == 225
    assert 2 * work_ms_max(DELTA_MS) <= MAINNET.block_interval_ms, "blocks keep their half second"


def test_a_longer_delta_leaves_time_for_more() -> None:
    throttle = Throttle(MAINNET)
    chain_of(throttle, 20, cost_ms=1.0)
    sizes = [throttle.count_max(DELTA_MS << nullified) for nullified in range(4)]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] >= 4 * sizes[0]


def test_a_fast_node_fills_its_blocks() -> None:
    assert chain_of(Throttle(MAINNET), 20, cost_ms=0.04)[-1] == MAINNET.block_transactions_max


def test_blocks_shrink_to_what_fits_and_grow_again() -> None:
    throttle = Throttle(MAINNET)
    quick = chain_of(throttle, 20, cost_ms=0.1)
    assert quick == sorted(quick), "from a careful beginning"
    slow = chain_of(throttle, 20, cost_ms=1.0)
    assert slow == sorted(slow, reverse=True)
    assert BLOCK_MS + slow[10] <= 1.1 * work_ms_max(DELTA_MS), (
        "a few blocks are late, not all that follow"
    )
    again = chain_of(throttle, 20, cost_ms=0.1)
    assert again == sorted(again)
    assert again[-1] > 0.95 * quick[-1]


def test_a_node_at_a_standstill_still_proposes_and_recovers() -> None:
    throttle = Throttle(MAINNET)
    assert chain_of(throttle, 20, cost_ms=500.0)[-1] == COUNT_MIN
    assert chain_of(throttle, 60, cost_ms=0.1)[-1] > 10 * COUNT_MIN


def test_small_blocks_tell_nothing() -> None:
    throttle = Throttle(MAINNET)
    before = throttle.count_max(DELTA_MS)
    for count in (0, 1, COUNT_MIN - 1):
        throttle.note(count, 1e6)
    assert throttle.count_max(DELTA_MS) == before


def test_the_protocol_still_bounds_the_block() -> None:
    throttle = Throttle(replace(MAINNET, block_transactions_max=10))
    assert throttle.count_max(DELTA_MS) == 10
    throttle.note(10, 0.0)
    assert throttle.count_max(DELTA_MS) == 10
