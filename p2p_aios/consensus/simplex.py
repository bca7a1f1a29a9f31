"""Simplex, weighted by contribution: the protocol, and the `step` that runs it.

Source: Chan & Pass, "Simplex Consensus" (eprint 2023/463), in the form commonware made known;
DESIGN §6. Faulty members hold less than a third of the voting weight; a *quorum* is more than two
thirds of it. Time is partially synchronous: safety never leans on clocks, progress needs delays
below Δ, which grows until they are.

# The protocol

**Views.** An epoch is one instance. It advances through views 1, 2, …, each with one leader. A view
ends in a *notarization* (a quorum notarized one block) or a *nullification* (a quorum gave the view
up); a validator enters view v+1 on either of view v, or of any later view.

**On entering view v**, its leader takes as parent the block notarized in the newest view p < v such
that every view between was nullified (p = 0 stands for the block the epoch is built on). At its
slot, one interval after the parent's timestamp, it broadcasts a proposal: the block, p, and its own
notarize vote.

**On the leader's proposal in view v**, a validator that holds the notarization of p and the
nullifications between (it asks for those it lacks), has executed the block on its parent, and sees
a timestamp at least an interval after the parent's and not ahead of its clock by more than a skew,
broadcasts notarize(v) — once per view.

**On a notarization of v**, it passes the certificate on, enters v+1 and, unless it nullified v,
broadcasts finalize(v).

**On a quorum of finalize(v)**, the block and all its ancestors are final.

**Giving up.** From max(entry of v, slot): after 2Δ without a proposal, or 3Δ without a
notarization, it broadcasts nullify(v); at once where the leader's stream is down, where the leader
was not heard for `silent_views` views, where its proposal breaks a rule, or where so many nullified
or notarized some other block that v can no longer become final. Δ doubles with each nullified view
and falls back with a finalization.

**Why it is safe.** finalize(v) and nullify(v) exclude each other for ever, so a finalized view has
no nullification, and two quorums share an honest member, so it has one notarization. Every later
proposal must therefore descend from it. notarize(v) beside nullify(v) is legal.

**Why it lives.** Whoever is stuck in a view repeats its votes and what brought it there. Every
honest member ends up in the newest view, and an honest leader with delays below Δ gets its block
notarized and finalized.

**Epochs.** No child of an epoch's last block is proposed in that epoch: leaders propose that same
block again, in later views, until a view finalizes it. Only then does the next epoch's instance
begin, with views from 1. Votes bind chain, epoch and view.

**Durability.** `step` returns effects in order. All it must remember leaves first, in one
`Persist`; no vote leaves before it, its proposal, and what it answers to are durable, and a restart
replays the journal before it signs. A journal younger than an epoch cannot tell what was signed in
it: its owner follows that epoch in silence. So it does where its chain ends below what the journal
forgot, and when it meets its own signature in a certificate without a memory of the vote (`memory`
says more). Finalizations go to disk with their blocks instead.

**Pacing.** A block's timestamp is its parent's plus an interval, or the leader's clock where that
is an interval or more past it. A voter holds a proposal until its clock is within a skew of the
timestamp; so the chain runs at its interval, and no faster, whatever leaders wish.

# Deviations

From the paper and from DESIGN §6, with reasons:

- *Leaders take turns* by a smooth weighted round-robin with seeded phases (`committee.Roster`)
  instead of a draw per view. Turns stay proportional to weight, cost a few operations, and a dead
  leader's lie evenly apart: independent draws would now and then string several together, and each
  costs a time-out. Leaders are known for an epoch either way, since the seed is.
- *Certificates are fetched when needed* rather than carried by every proposal (commonware).
- *A validator joins where finality is out of reach*: where those who nullified v, or those who
  notarized another block than the most, leave no quorum, waiting for the time-out gains nothing. It
  takes more than a third of the weight, so no villain brings it about alone.
- *finalize for another block than one notarized is legal*: an equivocating leader can get one block
  notarized by us and another by the quorum; the quorum's is the only one certified.
- *A finalization counts as a notarization*: more than a third of the weight, honest, saw one.
- *A late notarization of a view not nullified is still voted final*, though the view has passed.
- *Blocks that carry transactions more than twice the unfinalized limit above the tip are not
  notarized*: the leader's own limit bounds nothing when the leader is dishonest.
- *A last block's second proposal comes one interval after the view's entry*: its slot is past, and
  its finalization is usually a message delay away.
- *A wrong clock moves a slot by at most two skews beyond an interval*: it may cost its owner's
  proposals, never its votes to give up.
- *Members are named by validator address* at the driver's boundary: seats change with the epoch.

# Bounds

Votes are kept for `VIEWS_AHEAD_MAX` views ahead, one of a kind per seat; proposals for
`PROPOSALS_AHEAD_MAX`, one per view; certificates only once a quorum signed them. Below the newest
certified view `VIEWS_BEHIND` rounds remain. Above it, where all views were nullified, one
certificate a view remains: such views last 2Δ or more, and Δ grows.
"""

from collections.abc import Iterable
from typing import assert_never

from p2p_aios.consensus.candidates import Candidates
from p2p_aios.consensus.events import (
    Anchor,
    Built,
    Connected,
    Disconnected,
    EpochReady,
    Event,
    Now,
    Outbox,
    Output,
    Postponed,
    Received,
    SetTimer,
    Start,
    Synced,
    Term,
    Tick,
    Verified,
)
from p2p_aios.consensus.fetching import inquire_if_due
from p2p_aios.consensus.finality import (
    finalize_if_due,
    receive_postponed,
    receive_verified,
    verify_next,
)
from p2p_aios.consensus.instance import Identity, Instance
from p2p_aios.consensus.memory import memory_of
from p2p_aios.consensus.proposals import notarize_if_due
from p2p_aios.consensus.proposing import lead_if_due, receive_built
from p2p_aios.consensus.reception import Reception
from p2p_aios.consensus.records import JournalBirth, Record, position_of
from p2p_aios.consensus.recover import begin_instance, restore_records, resume
from p2p_aios.consensus.timing import next_deadline
from p2p_aios.consensus.voting import (
    accept_certificate,
    is_decided,
    nullify_if_due,
    rebroadcast_if_due,
)
from p2p_aios.errors import invariant
from p2p_aios.units import Address, Epoch


class Simplex:
    """One validator's consensus: feed it events, execute what it returns, in order."""

    def __init__(
        self,
        identity: Identity,
        anchor: Anchor,
        term: Term,
        records: Iterable[Record] = (),
        birth: JournalBirth | None = None,
    ) -> None:
        """`anchor` is the node's durable tip, `term` that of the epoch its child belongs to,
        `records` the journal's, `birth` the journal's own; without one it never signs.

        Raises Corrupt(`journal_foreign`).
        """
        self._identity = identity
        self._out = Outbox()
        self._down: set[Address] = set()
        self._candidates = Candidates(anchor)
        self._records = tuple(records)
        self._memory = memory_of(self._records, birth, identity.chain_id)
        self._reception = Reception(anchor.certificate)
        self._timer_ms: int | None = None
        self._joining_ms = self._memory.joining_ms(term, anchor, identity.params)
        self._x = self._begin(term)

    # What drivers and tests may look at

    @property
    def epoch(self) -> Epoch:
        return self._x.epoch

    @property
    def view(self) -> int:
        return self._x.view

    @property
    def tip(self) -> Anchor:
        """The last block given out by `Finalize` or taken in by `Synced`."""
        return self._candidates.tip

    @property
    def is_silent(self) -> bool:
        """Whether it signs nothing in this epoch."""
        return not self._x.signs

    @property
    def instance(self) -> Instance:
        """The running instance, to be read only."""
        return self._x

    def step(self, event: Event, now: Now) -> tuple[Output, ...]:
        """Take one event in; return what to do, in order."""
        self._take(event, now)
        if self._x.view > 0:
            self._progress(now)
        return self._out.drain()

    def _take(self, event: Event, now: Now) -> None:
        match event:
            case Start():
                self._resume(now)
            case Tick():
                self._timer_ms = None
            case Received(peer, message):
                self._reception.receive(self._x, peer, message, now)
            case Built(block):
                receive_built(self._x, block, now)
            case Verified(block, code):
                receive_verified(self._x, block, code)
            case Postponed(block):
                receive_postponed(self._x, block, now)
            case Connected(peer):
                self._down.discard(peer)
                self._reception.greet(self._x, peer)
            case Disconnected(peer):
                self._down.add(peer)
            case EpochReady(term):
                self._begin_epoch(term, now)
            case Synced(anchor, term):
                self._rebase(anchor, term, now)
            case _:
                assert_never(event)

    def _progress(self, now: Now) -> None:
        """Do all that is due. Each round of it votes, proposes or finalizes, which ends."""
        x = self._x
        changed = True
        while changed:
            verify_next(x, now)
            changed = finalize_if_due(x)
            if not x.is_closed:
                changed |= lead_if_due(x, now)
                changed |= notarize_if_due(x, now)
                changed |= nullify_if_due(x, now)
        if x.is_finished:
            return
        inquire_if_due(x, now)
        rebroadcast_if_due(x, now)
        deadline = next_deadline(x, now)
        if deadline is not None and deadline != self._timer_ms:
            self._timer_ms = deadline
            self._out.emit(SetTimer(deadline))

    # Epochs

    def _begin(self, term: Term) -> Instance:
        x = begin_instance(
            self._identity, term, self._candidates, self._memory, self._out, self._down
        )
        restore_records(x, self._records)
        return x

    def _resume(self, now: Now) -> None:
        invariant(self._x.view == 0, "Start comes once")
        self._x.listens_until_ms = now.monotonic_ms + self._joining_ms
        resume(self._x, now)

    def _begin_epoch(self, term: Term, now: Now) -> None:
        """Open the next epoch on the finalized last block of this one."""
        if term.committee.epoch <= self._x.epoch:
            return
        invariant(self._x.is_finished, "an epoch begins once the one before it is final")
        self._reception.previous = self._x.finalization
        self._replace_instance(term, now)

    def _rebase(self, anchor: Anchor, term: Term, now: Now) -> None:
        """Go on from a block that the driver fetched."""
        is_new_epoch = term.committee.epoch > self._x.epoch
        ahead = anchor.height - self._candidates.tip.height
        # At our own height it still may bring the next epoch: the driver can be ahead of its own
        # answer to our last `Finalize`.
        if anchor.certificate is None or ahead < 0 or (ahead == 0 and not is_new_epoch):
            return
        self._candidates.rebase(anchor)
        if is_new_epoch:
            self._reception.previous = anchor.certificate
            self._replace_instance(term, now)
            return
        self._x.signs &= self._memory.covers(term, anchor, self._identity.params)
        if not is_decided(self._x, anchor.certificate.ballot):
            accept_certificate(self._x, anchor.certificate, now)

    def _replace_instance(self, term: Term, now: Now) -> None:
        before = self._x
        silence = {before.address(seat): views for seat, views in before.unheard.items()}
        self._x = self._begin(term)
        for seat in self._x.unheard:
            self._x.unheard[seat] = silence.get(self._x.address(seat), 0)
        self._records = tuple(r for r in self._records if position_of(r)[0] > self._x.epoch)
        self._timer_ms = None
        resume(self._x, now)
        self._reception.receive_early(self._x, now)
