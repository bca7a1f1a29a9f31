"""Sync planning: from what peers claim to blocks that may be executed.

Theory. While peers claim more than we have, the heights ahead of the edge (the last block handed
on) are asked for in ranges, one per peer at a time, several peers at once. Answers are checked
alone (`answers`), held (`window`), and handed on as runs that follow our tip and end at a block
whose finalization certificate verifies. One run at a time: the committee that signed the next may
only be known once this one is executed (`TipFinalized`).

Whoever sends what no honest peer sends is penalized; whoever fails or merely may be lying gets a
fault, is asked last, and rests after a few. Peers whose blocks proved true are asked first; others
must answer soon, or somebody else is asked for the same. So a lying peer costs some requests, and a
crowd of stalling ones some seconds until an honest one is found, never the sync.

Sans-I/O: `step(event, now_ms)` returns what to do, in order. Certificates are judged by a callable
of the driver's, which must answer False for an epoch whose committee is unknown.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, assert_never

from p2p_aios.errors import Invalid
from p2p_aios.sync.answers import check_answer
from p2p_aios.sync.events import (
    Ask,
    BlocksReceived,
    Deliver,
    Event,
    Output,
    Peer,
    PeerAnnounced,
    PeerLost,
    Penalize,
    RequestFailed,
    RequestNumber,
    Tick,
    TipFinalized,
)
from p2p_aios.sync.peers import Peers
from p2p_aios.sync.window import Blame, Window
from p2p_aios.types.request import RANGE_BLOCKS_MAX, RESPONSE_BYTES_MAX, GetBlocks
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Hash, Height, Millis

REQUESTS_MAX: Final = 4
"""Most requests waited for at once, each to another peer."""
OVERDUE_MS: Final = 1_000
"""For how long a peer that is not proven keeps others from being asked for the same."""
OVERDUE_MAX: Final = 12
"""Most requests open beside those waited for."""
REQUEST_TIMEOUT_MS: Final = 10_000
"""How long an answer may take."""
AHEAD_BLOCKS_MAX: Final = REQUESTS_MAX * RANGE_BLOCKS_MAX
"""How far beyond what is held without a gap is asked for."""
HELD_BYTES_MAX: Final = 64 << 20
"""Most bytes of blocks that wait for a certificate."""
LAG_BLOCKS: Final = 3
"""Peers this far ahead are caught up with at once; a smaller lag is consensus at work..."""
STALL_MS: Final = 2_000
"""...unless our tip has not moved for so long."""


@dataclass(frozen=True, slots=True)
class _Open:
    peer: Peer
    request: GetBlocks
    overdue_ms: Millis
    deadline_ms: Millis

    def covers(self, height: int) -> bool:
        return self.request.start <= height < self.request.start + self.request.count


class SyncPlanner:
    def __init__(
        self, height: Height, hash: Hash, verify: Callable[[Certificate], bool], now_ms: Millis
    ) -> None:
        """`height` and `hash` are those of our own last finalized block; at genesis, 0 and the
        chain id."""
        self._tip_height, self._tip_moved_ms = height, now_ms
        self._window = Window(height, hash)
        self._verify = verify
        self._peers = Peers()
        self._open: dict[RequestNumber, _Open] = {}
        self._numbers = 0

    def is_behind(self, now_ms: Millis) -> bool:
        """Whether it is time to ask peers for blocks."""
        lag = self._peers.highest(now_ms) - self._tip_height
        is_stalled = now_ms - self._tip_moved_ms >= STALL_MS
        return lag >= LAG_BLOCKS or (lag > 0 and is_stalled)

    def wake_at_ms(self, now_ms: Millis) -> Millis | None:
        """When a Tick is due if nothing happens before; None: only an event can change anything."""
        times = [each.deadline_ms for each in self._open.values()]
        overdue = (each.overdue_ms for each in self._open.values())
        times += [overdue_ms for overdue_ms in overdue if overdue_ms > now_ms]
        if (returns_ms := self._peers.next_return_ms(now_ms)) is not None:
            times.append(returns_ms)
        if self._peers.highest(now_ms) > self._tip_height and not self.is_behind(now_ms):
            times.append(Millis(self._tip_moved_ms + STALL_MS))
        return min(times, default=None)

    def step(self, event: Event, now_ms: Millis) -> tuple[Output, ...]:
        """Take in one event; returns what to do, in order."""
        outputs: list[Output] = []
        match event:
            case PeerAnnounced(peer, height):
                self._peers.announced(peer, height)
            case PeerLost(peer):
                self._peers.lost(peer)
                self._open = {n: each for n, each in self._open.items() if each.peer != peer}
            case TipFinalized(height, hash):
                self._move_tip(height, hash, now_ms)
            case BlocksReceived():
                outputs += self._receive(event, now_ms)
            case RequestFailed(peer, number):
                if self._close(peer, number) is not None:
                    self._peers.fault(peer, now_ms)
            case Tick():
                pass
            case _:
                assert_never(event)
        self._expire(now_ms)
        outputs += self._deliver(now_ms)
        outputs += self._plan(now_ms) or self._reopen_end(now_ms)
        return tuple(outputs)

    def _move_tip(self, height: Height, hash: Hash, now_ms: Millis) -> None:
        if height <= self._tip_height:
            return
        self._tip_height, self._tip_moved_ms = height, now_ms
        if height > self._window.edge_height:
            self._window.move_edge(height, hash)

    def _receive(self, event: BlocksReceived, now_ms: Millis) -> list[Output]:
        request = self._close(event.peer, event.number)
        if request is None:
            return []
        if not event.blocks:
            self._peers.lacks(event.peer, request.start)
            self._peers.fault(event.peer, now_ms)
            return []
        try:
            hashes = check_answer(request, event.blocks)
        except Invalid as error:
            self._peers.fault(event.peer, now_ms)
            return [Penalize(event.peer, error.code, error.message)]
        self._window.hold(event.peer, event.blocks, hashes)
        return []

    def _close(self, peer: Peer, number: RequestNumber) -> GetBlocks | None:
        """The open request of this number and peer, no longer open."""
        opened = self._open.get(number)
        if opened is None or opened.peer != peer:
            return None
        del self._open[number]
        self._peers.end(peer)
        return opened.request

    def _expire(self, now_ms: Millis) -> None:
        for number, opened in list(self._open.items()):
            if opened.deadline_ms <= now_ms:
                self._close(opened.peer, number)
                self._peers.fault(opened.peer, now_ms)

    def _deliver(self, now_ms: Millis) -> list[Output]:
        outputs: list[Output] = []
        # Ends: every turn delivers, which moves the edge past the tip, or drops held blocks.
        while self._tip_height == self._window.edge_height and len(self._window):
            run, blame = self._window.take_run(self._verify)
            if run:
                outputs.append(Deliver(tuple(held.block for held in run)))
                for peer in sorted({held.peer for held in run}):
                    self._peers.prove(peer)
            elif blame == Blame():
                break
            outputs += blame.proved
            for peer in blame.peers():
                self._peers.fault(peer, now_ms)
        if self._window.bytes_held > HELD_BYTES_MAX:
            for peer in self._window.drop_all():
                self._peers.fault(peer, now_ms)
        return outputs

    def _plan(self, now_ms: Millis) -> list[Output]:
        if not self.is_behind(now_ms):
            return []
        asks: list[Output] = []
        awaited = [each for each in self._open.values() if self._is_awaited(each, now_ms)]
        reach = self._window.reach
        last = min(self._peers.highest(now_ms), reach + AHEAD_BLOCKS_MAX)
        height = reach + 1
        while height <= last and len(awaited) < REQUESTS_MAX:
            count = self._gap(height, last, awaited)
            if count == 0:
                height += 1
                continue
            ask = self._ask(Height(height), count, now_ms)
            if ask is None:
                break
            asks.append(ask)
            awaited.append(self._open[ask.number])
            height += ask.request.count
        return asks

    def _is_awaited(self, opened: _Open, now_ms: Millis) -> bool:
        """Whether what was asked for is left to this peer."""
        return opened.overdue_ms > now_ms or self._peers.is_proven(opened.peer)

    def _reopen_end(self, now_ms: Millis) -> list[Output]:
        """Ask again for an end without certificate that nobody claims to have blocks after.

        The last block an honest peer claims is final by a certificate of its own: it was withheld.
        """
        is_waiting = self._tip_height == self._window.edge_height and len(self._window) > 0
        if not is_waiting or self._open or not self.is_behind(now_ms):
            return []
        for peer in self._window.drop_open_end():
            self._peers.fault(peer, now_ms)
        return self._plan(now_ms)

    def _gap(self, start: int, last: int, awaited: list[_Open]) -> int:
        """How many heights from `start` are neither held nor asked for; one range at most."""
        count = 0
        while count < RANGE_BLOCKS_MAX and start + count <= last:
            height = start + count
            if height in self._window or any(each.covers(height) for each in awaited):
                break
            count += 1
        return count

    def _ask(self, start: Height, count: int, now_ms: Millis) -> Ask | None:
        if len(self._open) >= REQUESTS_MAX + OVERDUE_MAX:
            return None
        in_flight = len(self._open) * RESPONSE_BYTES_MAX
        is_next = start == self._window.reach + 1
        if not is_next and self._window.bytes_held + in_flight > HELD_BYTES_MAX // 2:
            return None
        found = self._peers.best(start, now_ms)
        if found is None:
            return None
        peer, claim = found
        request = GetBlocks(start, min(count, claim - start + 1))
        self._numbers += 1
        self._open[self._numbers] = _Open(
            peer, request, Millis(now_ms + OVERDUE_MS), Millis(now_ms + REQUEST_TIMEOUT_MS)
        )
        self._peers.begin(peer, self._numbers, now_ms)
        return Ask(peer, self._numbers, request)
