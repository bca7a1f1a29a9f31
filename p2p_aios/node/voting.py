"""Carries consensus out: events in, effects out, in the core's order.

One task steps the core and performs its outputs one by one; `Persist` is on disk before the next
output is looked at. Building, verifying and finalizing run beside it and answer with events. What
peers send takes part of the inbox at most, so there is always room for those answers.
"""

import logging
import time
from collections.abc import Callable
from functools import partial
from typing import Final, assert_never

import trio

from p2p_aios.consensus.events import (
    Anchor,
    Build,
    Built,
    CatchUp,
    EpochReady,
    Event,
    Finalize,
    Now,
    Output,
    Persist,
    Postponed,
    Refused,
    ReportEvidence,
    Send,
    SetTimer,
    Start,
    Synced,
    Tick,
    Verified,
    Verify,
)
from p2p_aios.consensus.instance import Identity
from p2p_aios.consensus.simplex import Simplex
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import AiosError, Corrupt, Invalid, Unavailable
from p2p_aios.ledger.environment import is_epoch_end
from p2p_aios.ledger.queries import read_beacon_position
from p2p_aios.network.penalties import NUISANCE
from p2p_aios.node.beacon import Beacon
from p2p_aios.node.candidate import Candidate, Slot
from p2p_aios.node.catchup import CatchUp as CatchUpTask
from p2p_aios.node.chain import Chain
from p2p_aios.node.committee_map import CommitteeMap, StreamEvent
from p2p_aios.node.finality import Finality
from p2p_aios.node.terms import anchor_of, term_after
from p2p_aios.node.throttle import Throttle
from p2p_aios.node.transactions import Transactions
from p2p_aios.store.journal import Journal
from p2p_aios.types.block import Proposal, block_hash
from p2p_aios.types.message import Backfill, encode_message
from p2p_aios.types.transaction import ReportEvidence as EvidenceAction
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Epoch, Hash

EVENTS_MAX: Final = 1024
"""Events waiting for the core."""
STREAM_EVENTS_MAX: Final = 512
"""Of those, from committee streams; beyond it peers are read no further. The other half is far more
than can be under way: answers to builds and verifications, blocks fetched, epoch turns."""
FINALIZATIONS_MAX: Final = 256
CUT_BLOCKS: Final = 40
"""After how many final blocks the journal is cut."""

log = logging.getLogger(__name__)


class Voting:
    """A validator's seat, whenever it has one."""

    def __init__(
        self,
        chain: Chain,
        committee: CommitteeMap,
        transactions: Transactions,
        finality: Finality,
        catchup: CatchUpTask,
        key: KeyPair,
        beacon: Beacon,
        journal: Journal,
    ) -> None:
        self._chain = chain
        self._committee = committee
        self._transactions = transactions
        self._finality = finality
        self._catchup = catchup
        self._key = key
        self._beacon = beacon
        self._journal = journal
        self._inbox_in, self._inbox = trio.open_memory_channel[Event](EVENTS_MAX)
        self._final_in, self._final = trio.open_memory_channel[Finalize](FINALIZATIONS_MAX)
        self._stream_room = trio.Semaphore(STREAM_EVENTS_MAX)
        self._timer_ms: int | None = None
        self._silent_in: Epoch | None = None
        """The last epoch whose silence was told of."""
        self._journaling = trio.CapacityLimiter(1)
        self._throttle = Throttle(chain.params)
        self.core = Simplex(
            Identity(chain.chain_id, chain.params, key),
            anchor_of(chain),
            term_after(chain, chain.tip.height),
            journal.replay(),
            journal.birth,
        )

    def on_final(self, final: tuple[Candidate, ...], certificate: Certificate) -> None:
        """Blocks are on disk: tell the core what it does not know, and begin epochs."""
        header = final[-1].block.header
        if header.height > self.core.tip.height:
            anchor = Anchor(final[-1].hash, header.height, header.timestamp_ms, certificate)
            self._post(Synced(anchor, term_after(self._chain, header.height)))
        elif is_epoch_end(header.height, self._chain.params):
            self._post(EpochReady(term_after(self._chain, header.height)))

    def block_transactions_max(self) -> int:
        """Most transactions for a block that is proposed now."""
        return self._throttle.count_max(self.core.instance.delta_ms())

    async def run(self) -> None:
        """Take part until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            nursery.start_soon(self._finalize_in_order)
            event: Event | None = Start()
            while True:
                if event is not None:
                    for output in self.core.step(event, _now()):
                        await self._perform(output, nursery)
                    self._tell_silence()
                event = await self._next_event()

    def _tell_silence(self) -> None:
        """Once an epoch: to its operator, a seat that signs nothing looks like a lost network."""
        core = self.core
        if not core.is_silent or core.instance.seat is None or core.epoch == self._silent_in:
            return
        if not self._catchup.is_behind:
            self._silent_in = core.epoch
            log.warning(
                "epoch=%d the journal may lack what was signed in it: our seat signs nothing until"
                " the next epoch",
                core.epoch,
            )

    async def _next_event(self) -> Event | None:
        """The next event; Tick when the timer is due."""
        deadline_s = trio.current_time() + 3600
        if self._timer_ms is not None:
            deadline_s = trio.current_time() + (self._timer_ms - _now().monotonic_ms) / 1000
        with trio.move_on_at(deadline_s):
            event = await self._inbox.receive()
            if isinstance(event, StreamEvent):
                self._stream_room.release()
            return event
        if self._timer_ms is None:
            return None
        self._timer_ms = None
        return Tick()

    async def _perform(self, output: Output, nursery: trio.Nursery) -> None:
        match output:
            case Persist(records=records):
                await self._in_journal(partial(self._journal.append, records))
            case Send():
                self._send(output)
            case Build():
                nursery.start_soon(self._build, output)
            case Verify():
                nursery.start_soon(self._verify, output)
            case Finalize():
                await self._final_in.send(output)
            case SetTimer(monotonic_ms=deadline_ms):
                self._timer_ms = deadline_ms
            case CatchUp():
                nursery.start_soon(self._catchup.ask_around)
            case ReportEvidence():
                nursery.start_soon(self._report, output)
            case Refused(peer=peer, code=code):
                log.info("peer=%s consensus message refused code=%s", format_address(peer), code)
                self._committee.penalize(peer, NUISANCE, code)
            case other:
                assert_never(other)

    def _send(self, output: Send) -> None:
        data = encode_message(output.message)
        # Blocks must not stand before votes.
        urgent = not isinstance(output.message, Proposal | Backfill)
        for recipient in output.recipients:
            self._committee.send(recipient, data, urgent=urgent)

    async def _build(self, order: Build) -> None:
        try:
            candidate = await self._build_block(order)
        except (Invalid, Unavailable) as error:
            log.warning("height=%d cannot build: %s", order.height, error)
            return
        await self._inbox_in.send(Built(candidate.block))

    async def _build_block(self, order: Build) -> Candidate:
        """Raises Invalid, Unavailable."""
        footing = self._chain.footing(order.parent)
        slot = Slot(
            order.epoch,
            order.view,
            order.timestamp_ms,
            self._key.address,
            self._next_reveal(order),
        )
        if not order.is_empty:
            try:
                begun_s = trio.current_time()
                waiting = self._transactions.select(footing, self.block_transactions_max())
                candidate, rejected = await self._chain.build(footing, slot, waiting)
                self._throttle.note(len(waiting), _ms_since(begun_s))
                self._transactions.drop(rejected)
                return candidate
            except AiosError:
                raise
            except Exception:  # what one transaction trips over must not stop every leader
                log.exception("height=%d cannot be filled; it stays empty", order.height)
        candidate, _ = await self._chain.build(footing, slot, ())
        return candidate

    def _next_reveal(self, order: Build) -> Hash:
        footing = self._chain.footing(order.parent)
        with self._chain.snapshot() as snapshot:
            ground = self._chain.ground(footing, snapshot)
            position = read_beacon_position(ground, self._key.address, order.epoch)
        if position is None:
            raise Unavailable("unknown_beacon", "this key is no registered validator's")
        return self._beacon.reveal(position)

    async def _verify(self, order: Verify) -> None:
        digest = block_hash(order.block.header)
        code: str | None = None
        if self._chain.candidate(digest) is None:
            begun_s = trio.current_time()
            try:
                transactions = await self._transactions.check(order.block.transactions)
                await self._chain.execute(order.block, transactions)
                self._throttle.note(len(transactions), _ms_since(begun_s))
            except Invalid as error:
                log.warning("height=%d refused: %s", order.block.header.height, error)
                code = error.code
            except Unavailable as error:
                log.warning("height=%d not executed: %s", order.block.header.height, error)
                await self._inbox_in.send(Postponed(digest))
                return
            except Corrupt:
                raise
            except Exception:  # a bug that a proposal reaches costs its leader's turn, not us
                log.exception("height=%d cannot be executed", order.block.header.height)
                code = "execution_failed"
        await self._inbox_in.send(Verified(digest, code))

    async def _finalize_in_order(self) -> None:
        cut_at = self._chain.tip.height
        async for order in self._final:
            hashes = [block_hash(block.header) for block in order.blocks]
            await self._finality.finalize(hashes, order.certificate)
            # Several blocks may become final at once, or come from peers: heights are jumped over.
            height, ballot = order.blocks[-1].header.height, order.certificate.ballot
            if height - cut_at >= CUT_BLOCKS:
                await self._in_journal(partial(self._journal.cut, (ballot.epoch, ballot.view)))
                cut_at = height

    async def _in_journal(self, work: Callable[[], None]) -> None:
        await trio.to_thread.run_sync(work, limiter=self._journaling)

    async def _report(self, output: ReportEvidence) -> None:
        """Put two conflicting votes on the chain, if our account can pay for it."""
        log.error("seat=%d voted twice in one view", output.first.seat)
        action = EvidenceAction(output.first, output.second)
        try:
            await self._transactions.submit_own(self._key, action)
        except (Invalid, Unavailable) as error:
            log.warning("evidence not submitted: %s", error)

    async def _listen(self) -> None:
        async for event in self._committee.listen():
            await self._stream_room.acquire()
            await self._inbox_in.send(event)

    def _post(self, event: Event) -> None:
        self._inbox_in.send_nowait(event)


def _ms_since(begun_s: float) -> float:
    return 1000 * (trio.current_time() - begun_s)


def _now() -> Now:
    return Now(time.monotonic_ns() // 1_000_000, time.time_ns() // 1_000_000)
