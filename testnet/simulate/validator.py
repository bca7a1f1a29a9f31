"""A simulated validator: the real core, with a driver and a disk made of lists."""

from collections import deque
from collections.abc import Callable
from typing import assert_never

from p2p_aios.consensus.committee import last_height, verify_certificate
from p2p_aios.consensus.events import (
    Build,
    Built,
    CatchUp,
    Connected,
    Disconnected,
    EpochReady,
    Event,
    Finalize,
    Now,
    Output,
    Persist,
    Received,
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
from p2p_aios.consensus.records import JournalBirth, Record, position_of
from p2p_aios.consensus.simplex import Simplex
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.types.block import FinalizedBlock, block_hash
from p2p_aios.types.message import CommitteeMessage
from p2p_aios.types.vote import Vote
from p2p_aios.units import Address, Hash, Height, Millis
from testnet.simulate.application import CHAIN_ID, Ledger, make_block, state_after
from testnet.simulate.surroundings import Surroundings

RESTART_MS = 700
"""How long a validator that crashed inside a persist stays down."""
COMMIT_MS = 5
"""Time to write finalized blocks."""


class Validator:
    """Runs the core; its ledger and journal survive crashes, the rest does not."""

    def __init__(self, world: Surroundings, index: int, keys: KeyPair) -> None:
        self.world = world
        self.index = index
        self.keys = keys
        self.ledger = Ledger(world.keys, world.params, world.conditions.weights)
        self.journal: list[Record] = []
        self.persisted: set[Vote] = set()
        """Every vote that ever was durable; the journal itself is cut."""
        self.birth = JournalBirth(Millis(world.wall_ms()), Height(0))
        drawn = world.draw((-world.conditions.skew_ms, world.conditions.skew_ms))
        self.skew_ms = world.conditions.wrong_clocks_ms.get(index, drawn)
        self.core: Simplex | None = None
        self.finalized_at: dict[int, int] = {}
        """Height to the virtual time at which it became final here."""
        self.nullified_views = 0
        self._life = 0
        self._timer = 0
        self._queue: deque[Output] = deque()
        self._is_waiting = False
        self._overlays: dict[Hash, Hash] = {}
        self._is_syncing = False

    # Life and death

    @property
    def is_up(self) -> bool:
        return self.core is not None

    def start(self) -> None:
        if self.is_up:
            return
        self._life += 1
        self._queue.clear()
        self._overlays.clear()
        self._is_waiting = self._is_syncing = False
        self.core = Simplex(
            Identity(CHAIN_ID, self.world.params, self.keys),
            self.ledger.anchor(),
            self.ledger.next_term(),
            tuple(self.journal),
            self.birth,
        )
        self.world.tell_peers(self.keys.address, True)
        self.feed(Start())

    def crash(self) -> None:
        """Lose everything volatile."""
        if self.is_up:
            self.core = None
            self._life += 1
            self.world.tell_peers(self.keys.address, False)

    def forget(self) -> None:
        """Lose the journal as well."""
        self.journal.clear()
        height = Height(max(1, self.ledger.height))
        self.birth = JournalBirth(Millis(self.world.wall_ms() + self.skew_ms), height)

    def notice(self, peer: Address, is_up: bool) -> None:
        if self.is_up:
            self.feed(Connected(peer) if is_up else Disconnected(peer))

    def receive(self, sender: Address, message: CommitteeMessage) -> None:
        if self.is_up:
            self.feed(Received(sender, message))

    def _later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something later, unless this life has ended by then."""
        life = self._life
        self.world.later(delay_ms, lambda: action() if self._life == life else None)

    # The driver

    def now(self) -> Now:
        # Monotonic clocks begin anywhere; they only must not go back.
        monotonic = self.world.now_ms + 1_000_000 * (self.index + 1)
        return Now(monotonic, self.world.wall_ms() + self.skew_ms)

    def step(self, event: Event) -> tuple[Output, ...]:
        """The core's answer; whoever measures it does so around this."""
        assert self.core is not None
        return self.core.step(event, self.now())

    def feed(self, event: Event) -> None:
        self._queue.extend(self.step(event))
        self._run_queue()

    def _run_queue(self) -> None:
        while self._queue and not self._is_waiting and self.is_up:
            self._execute(self._queue.popleft())

    def _execute(self, output: Output) -> None:
        match output:
            case Persist(records):
                self._persist(records)
            case Send(recipients, message):
                self.world.invariants.on_send(self, message)
                self.transmit(recipients, message)
            case Build():
                self._later(
                    self.world.draw(self.world.conditions.build_ms), lambda: self._build(output)
                )
            case Verify():
                self._later(
                    self.world.draw(self.world.conditions.verify_ms), lambda: self._verify(output)
                )
            case Finalize():
                self._is_waiting = True
                self._later(COMMIT_MS, lambda: self._finalize(output))
            case SetTimer(monotonic_ms):
                self._set_timer(monotonic_ms)
            case CatchUp(peer):
                self._catch_up(peer)
            case ReportEvidence(first, second):
                self.world.invariants.on_evidence(self, first, second)
            case Refused(peer, code):
                self.world.invariants.on_refused(self, peer, code)
            case _:
                assert_never(output)

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        """Hand a message to the network; villains do otherwise."""
        self.world.send(self.keys.address, recipients, message)

    def _persist(self, records: tuple[Record, ...]) -> None:
        self._is_waiting = True
        conditions = self.world.conditions
        is_doomed = (
            not self.world.is_healed
            and self.world.dice.random() < conditions.crash_in_persist_share
        )
        if is_doomed and self.world.dice.random() < 0.5:
            self._die_and_return()
            return

        def durable() -> None:
            self.journal.extend(records)
            self.persisted.update(record for record in records if isinstance(record, Vote))
            if is_doomed:
                self._die_and_return()
                return
            self._is_waiting = False
            self._run_queue()

        self._later(self.world.draw(conditions.sync_ms), durable)

    def _die_and_return(self) -> None:
        self.crash()
        self.world.later(RESTART_MS, self.start)

    def _set_timer(self, monotonic_ms: int) -> None:
        self._timer += 1
        timer = self._timer

        def fire() -> None:
            if timer == self._timer:
                self.feed(Tick())

        self._later(max(0, monotonic_ms - self.now().monotonic_ms), fire)

    # The application

    def _state_of(self, block: Hash) -> Hash:
        state = self._overlays.get(block) or self.ledger.states.get(block)
        assert state is not None, "the core builds and verifies on executed parents only"
        return state

    def _build(self, task: Build) -> None:
        body = () if task.is_empty else (self._transaction(task),)
        block = make_block(task, self._state_of(task.parent), self.keys.address, body)
        self._overlays[block_hash(block.header)] = block.header.state_root
        self.feed(Built(block))

    def _transaction(self, task: Build) -> bytes:
        return b"%d built this in view %d" % (self.index, task.view)

    def _verify(self, task: Verify) -> None:
        header = task.block.header
        name = block_hash(header)
        assert name not in self._overlays, "each candidate is executed once"
        state = state_after(self._state_of(header.parent), header.height, task.block.transactions)
        if state == header.state_root:
            self._overlays[name] = state
        self.feed(Verified(name, None if state == header.state_root else "state_root_wrong"))

    def _finalize(self, task: Finalize) -> None:
        for block in task.blocks:
            if block.header.height > self.ledger.height:
                is_tip = block is task.blocks[-1]
                self._append(FinalizedBlock(block, task.certificate if is_tip else None))
        self._cut_journal(task)
        self._is_waiting = False
        if self.ledger.height == last_height(
            task.certificate.ballot.epoch, self.world.params.epoch_blocks
        ):
            self._later(COMMIT_MS, lambda: self.feed(EpochReady(self.ledger.next_term())))
        self._run_queue()

    def _append(self, finalized: FinalizedBlock) -> None:
        self.ledger.append(finalized)
        self.finalized_at[self.ledger.height] = self.world.now_ms
        self.world.invariants.on_finalized(self, finalized.block)

    def _cut_journal(self, task: Finalize) -> None:
        ballot = task.certificate.ballot
        while self.journal and position_of(self.journal[0]) <= (ballot.epoch, ballot.view):
            self.journal.pop(0)

    def _catch_up(self, peer: Address) -> None:
        if not self._is_syncing:
            self._is_syncing = True
            self._later(4 * self.world.conditions.delay_ms[1], lambda: self._sync(peer))

    def _sync(self, peer: Address) -> None:
        """Copy an honest peer's finalized blocks, as a driver does by request and response."""
        self._is_syncing = False
        source = self.world.answering(self.keys.address, peer)
        if source is None:
            return
        for finalized in source.blocks[self.ledger.height :]:
            self._append(finalized)
        anchor = self.ledger.anchor()
        if anchor.certificate is None:
            return
        term = self.ledger.term(anchor.certificate.ballot.epoch)
        verify_certificate(term.committee, CHAIN_ID, anchor.certificate)
        self.feed(Synced(anchor, self.ledger.next_term()))
