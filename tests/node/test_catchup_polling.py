"""Peers are asked where they stand when that can tell something, and seldom otherwise."""

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from p2p_aios.node.catchup import PAUSE_S_MAX, CatchUp
from p2p_aios.types.request import GetStatus, Status, encode_request, encode_response
from p2p_aios.units import ZERO_HASH, Epoch, Height


class Neighbourhood:
    """Connected peers that all stand at `height`; answers, and notes the questions."""

    def __init__(self) -> None:
        self.height = 0
        self.connections = [SimpleNamespace(peer=b"one"), SimpleNamespace(peer=b"two")]
        self.peers = SimpleNamespace(connected=lambda: self.connections)
        self.requests = self
        self.asked_s: dict[bytes, list[float]] = {}

    async def request(self, peer: bytes, data: bytes, **_: Any) -> bytes:
        if data == encode_request(GetStatus()):
            self.asked_s.setdefault(peer, []).append(trio.current_time())
        return encode_response(Status(Height(self.height), ZERO_HASH, Epoch(0)))

    def pauses_s(self, peer: bytes) -> list[float]:
        return [round(later - earlier) for earlier, later in pairwise(self.asked_s[peer])]


@pytest.fixture
async def around() -> Neighbourhood:
    return Neighbourhood()


@pytest.fixture
async def catchup(around: Neighbourhood, nursery: trio.Nursery) -> CatchUp:
    unused: Any = None
    tip: Any = SimpleNamespace(tip=SimpleNamespace(height=Height(0), hash=ZERO_HASH))
    network: Any = around
    started = CatchUp(tip, network, unused, unused)
    nursery.start_soon(started.run)
    return started


async def test_a_chain_that_stands_still_is_asked_about_ever_less_often(
    around: Neighbourhood, catchup: CatchUp, autojump_clock: MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    await trio.sleep(60)
    pauses = around.pauses_s(b"one")
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1] == PAUSE_S_MAX
    assert around.asked_s.keys() == {b"one", b"two"}
    around.asked_s.clear()
    catchup.moved()
    await trio.sleep(6)
    assert around.pauses_s(b"one")[0] < PAUSE_S_MAX / 2, "it moved, and stands still anew"


async def test_a_chain_that_moves_is_not_asked_about(
    around: Neighbourhood, catchup: CatchUp, autojump_clock: MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    for _ in range(40):
        catchup.moved()
        await trio.sleep(0.5)
    assert around.asked_s == {}


async def test_a_node_that_is_behind_asks_every_second(
    around: Neighbourhood, catchup: CatchUp, autojump_clock: MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    around.height = 100
    await trio.sleep(20)
    assert catchup.heights == {b"one": 100, b"two": 100}
    assert set(around.pauses_s(b"one")) == {1}


async def test_a_new_peer_is_asked_at_once(
    around: Neighbourhood, catchup: CatchUp, autojump_clock: MockClock
) -> None:
    assert autojump_clock.autojump_threshold == 0
    await trio.sleep(60)
    around.connections.append(SimpleNamespace(peer=b"three"))
    await trio.sleep(2)
    assert len(around.asked_s[b"three"]) == 1
    around.connections.clear()
    await trio.sleep(2)
    assert catchup.heights == {}
