"""Executed blocks above the tip: the way down to it, and which of them go when there are many."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import Unavailable
from p2p_aios.node.branches import Branches
from p2p_aios.node.candidate import Candidate
from p2p_aios.types.block import Block, Header, block_hash
from p2p_aios.units import ZERO_HASH, Address, Epoch, Hash, Height, Millis, View

TIP = sha256(b"tip")
FIRST = Header(
    ZERO_HASH,
    Height(1),
    Epoch(0),
    View(1),
    TIP,
    Millis(0),
    Address(bytes(20)),
    *[ZERO_HASH] * 6,
)
UNUSED: Any = SimpleNamespace()
"""What a block did: the tree does not look at it."""


def executed(parent: Candidate | None, view: int, size: int = 0) -> Candidate:
    """A block of `view` on `parent`, or on the tip, with one transaction of `size` bytes."""
    on = FIRST if parent is None else parent.block.header
    header = replace(
        on,
        height=Height(1 if parent is None else on.height + 1),
        view=View(view),
        parent=TIP if parent is None else parent.hash,
    )
    body = (bytes(size),) if size else ()
    return Candidate(Block(header, body), block_hash(header), (), UNUSED, UNUSED, UNUSED)


def held(branches: Branches, *candidates: Candidate) -> list[bool]:
    return [branches.get(candidate.hash) is candidate for candidate in candidates]


def test_the_way_leads_down_to_the_tip() -> None:
    branches = Branches()
    first = branches.add(executed(None, 1))
    second = branches.add(executed(first, 2))
    assert branches.way(TIP, TIP) == ()
    assert branches.way(TIP, second.hash) == (second, first)
    assert branches.way(first.hash, second.hash) == (second,)
    for tip, block in ((TIP, Hash(ZERO_HASH)), (second.hash, first.hash)):
        with pytest.raises(Unavailable, match="unknown_parent"):
            branches.way(tip, block)


def test_the_first_execution_of_a_block_stays() -> None:
    branches, first = Branches(), executed(None, 1)
    assert branches.add(first) is first
    assert branches.add(executed(None, 1)) is first
    assert len(branches) == 1


def test_what_does_not_descend_from_the_new_tip_goes() -> None:
    branches = Branches()
    winner, loser = branches.add(executed(None, 1)), branches.add(executed(None, 2))
    child, orphan = branches.add(executed(winner, 3)), branches.add(executed(loser, 4))
    branches.rebase(winner.hash)
    assert held(branches, winner, loser, child, orphan) == [False, False, True, False]


def test_past_the_bound_the_oldest_without_children_goes() -> None:
    branches = Branches(count_max=4)
    first = branches.add(executed(None, 1))
    losers = [branches.add(executed(None, view)) for view in (2, 3)]
    second = branches.add(executed(first, 4))
    third = branches.add(executed(second, 5))
    assert held(branches, first, *losers, second, third) == [True, False, True, True, True]
    fourth = branches.add(executed(third, 6))
    assert held(branches, first, *losers, second, third, fourth)[1:3] == [False, False]
    assert len(branches) == 4


def test_the_chain_that_is_built_on_stays_however_long() -> None:
    branches, block = Branches(count_max=3), None
    for view in range(1, 11):
        block = branches.add(executed(block, view))
    assert block is not None
    losers = [branches.add(executed(None, view)) for view in (11, 12)]
    assert len(branches.way(TIP, block.hash)) == 10
    assert held(branches, *losers) == [False, True], "the newest may be built on yet"


def test_bytes_are_bounded_too_and_counted_right() -> None:
    branches = Branches(bytes_max=100)
    winner = branches.add(executed(None, 1, 60))
    loser = branches.add(executed(None, 2, 40))
    late = branches.add(executed(winner, 3, 40))
    assert held(branches, winner, loser, late) == [True, False, True]
    branches.rebase(winner.hash)
    others = [branches.add(executed(late, view, 30)) for view in (4, 5)]
    assert held(branches, late, *others) == [True, True, True]
