"""The state of one epoch's Simplex instance, and the questions its rules ask of it."""

from dataclasses import dataclass, field
from typing import Final

from p2p_aios.consensus.candidates import Candidates
from p2p_aios.consensus.committee import Roster, last_height
from p2p_aios.consensus.events import Now, Outbox
from p2p_aios.consensus.inquiries import Inquiries
from p2p_aios.consensus.pacing import delta_of, slot_of
from p2p_aios.consensus.view import Round
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import invariant
from p2p_aios.params import Params
from p2p_aios.types.block import Block
from p2p_aios.types.vote import Certificate, Seat, VoteKind
from p2p_aios.units import Address, Epoch, Hash, View

VIEWS_AHEAD_MAX: Final = 16
"""Votes for views farther ahead are dropped; a certificate will bring us there."""
PROPOSALS_AHEAD_MAX: Final = 2
"""Proposals for views farther ahead are dropped: they are the only large messages kept."""
VIEWS_BEHIND: Final = 32
"""Rounds kept below the newest certified view, for evidence and for members that lag."""

NO_VIEW: Final = View(0)
"""Before the first view; the view that notarized the block an epoch is built on."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whom the core speaks for, and under which rules."""

    chain_id: Hash
    params: Params
    keys: KeyPair
    """Of the validator; it signs only in epochs whose committee seats it."""


@dataclass(slots=True)
class Construction:
    """A block asked of the driver, for the current view."""

    parent: Hash
    parent_view: View
    asked_ms: int
    block: Block | None = None


@dataclass(slots=True)
class Instance:
    """Everything one validator knows of one epoch's agreement."""

    identity: Identity
    roster: Roster
    candidates: Candidates
    base: Hash
    """The block the epoch is built on; its parent view is 0."""
    out: Outbox
    down: set[Address]
    """Peers whose committee stream broke."""
    seat: Seat | None
    signs: bool
    """Whether our journal vouches for all that we signed in the epoch."""
    listens_until_ms: int
    """Monotonic; nothing is signed before."""
    unheard: dict[Seat, int]
    """Views entered since the seat was last heard."""
    view: View = NO_VIEW
    entered_ms: int = 0
    rebroadcast_ms: int = 0
    finalization: Certificate | None = None
    """Of the highest view, whether or not its blocks are here."""
    certified_view: View = NO_VIEW
    """The highest notarized or finalized one."""
    floor: View = NO_VIEW
    """Nothing of lower views is kept or accepted."""
    nullified: int = 0
    """Views nullified since the last finalization."""
    construction: Construction | None = None
    last_build_ms: int = 0
    reported: set[Seat] = field(default_factory=set)
    """Seats whose misbehaviour in this epoch is reported."""
    rounds: dict[View, Round] = field(default_factory=dict)
    inquiries: Inquiries = field(default_factory=Inquiries)

    @property
    def epoch(self) -> Epoch:
        return self.roster.committee.epoch

    @property
    def settled_view(self) -> View:
        """The highest finalized view: nothing is voted on at or below it."""
        return self.finalization.ballot.view if self.finalization is not None else View(0)

    @property
    def last_height(self) -> int:
        return last_height(self.epoch, self.identity.params.epoch_blocks)

    @property
    def is_finished(self) -> bool:
        """Whether the epoch's last block is final and executed: only the next instance goes on."""
        return self.candidates.tip.height >= self.last_height

    @property
    def is_closed(self) -> bool:
        """Whether the epoch's last block is final, executed or not: nothing is left to vote on."""
        final = self.finalization.ballot.block if self.finalization is not None else self.base
        return self.is_finished or self.is_last_of_epoch(final)

    @property
    def others(self) -> tuple[Address, ...]:
        """Every member but us."""
        own = self.identity.keys.address
        members = self.roster.committee.members
        return tuple(member.address for member in members if member.address != own)

    def may_sign(self, now: Now) -> bool:
        return self.signs and now.monotonic_ms >= self.listens_until_ms

    def address(self, seat: Seat) -> Address:
        return self.roster.member(seat).address

    def leader(self) -> Seat:
        return self.roster.leader(self.view)

    def round(self, view: View) -> Round:
        """The view's round, begun if need be."""
        invariant(view >= self.floor, "rounds below the floor never return: their votes are gone")
        return self.rounds.setdefault(view, Round(view))

    def certified(self, view: View) -> Hash | None:
        """The block notarized in `view`, as far as we know; view 0 notarized the epoch's base."""
        if view == 0:
            return self.base
        round_ = self.rounds.get(view)
        return round_.certified() if round_ is not None else None

    def is_nullified(self, view: View) -> bool:
        round_ = self.rounds.get(view)
        return round_ is not None and round_.is_nullified()

    def has_own(self, kind: VoteKind, view: View) -> bool:
        round_ = self.rounds.get(view)
        return (
            round_ is not None
            and self.seat is not None
            and round_.vote_of(kind, self.seat) is not None
        )

    def missing_certificates(self, parent_view: View, view: View) -> list[View]:
        """Views whose certificate we lack to accept, in `view`, a parent of `parent_view`."""
        between = (View(v) for v in range(parent_view + 1, view))
        missing = [v for v in between if not self.is_nullified(v)]
        return missing if self.certified(parent_view) is not None else [parent_view, *missing]

    def newest_certified(self) -> Hash:
        """The block a leader would build on, were every later view nullified."""
        block = self.certified(self.certified_view)
        invariant(block is not None, "the newest certified view has a certificate")
        return block if block is not None else self.base

    def is_last_of_epoch(self, block: Hash) -> bool:
        return self.candidates.height(block) == self.last_height

    def slot_ms(self, now: Now) -> int:
        """Monotonic time at which the current view's proposal is due."""
        interval = self.identity.params.block_interval_ms
        parent = self.newest_certified()
        if self.is_last_of_epoch(parent):
            return self.entered_ms + interval
        parent_ms = self.candidates.timestamp_ms(parent)
        return slot_of(parent_ms, self.entered_ms, now, self.identity.params)

    def patience_from_ms(self, now: Now) -> int:
        """Where time-outs start: the view's entry or its slot, whichever is later."""
        return max(self.entered_ms, self.slot_ms(now))

    def delta_ms(self) -> int:
        return delta_of(self.nullified, self.identity.params)

    def is_leader_silent(self) -> bool:
        """Whether waiting for the current leader is idle: its stream is down, or long unheard."""
        leader = self.leader()
        if leader == self.seat:
            return False
        unheard = self.unheard.get(leader, 0) > self.identity.params.silent_views
        return unheard or self.address(leader) in self.down

    def prune(self) -> None:
        """Drop rounds far below what can still matter, and old views' votes."""
        decided = max(self.settled_view, self.certified_view)
        self.floor = View(max(self.floor, decided - VIEWS_BEHIND))
        for view in [v for v in self.rounds if v < self.floor]:
            del self.rounds[view]
        for view, round_ in self.rounds.items():
            if view < self.view - VIEWS_BEHIND:
                round_.settle(self.seat)
