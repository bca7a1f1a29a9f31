"""Villains that sign nothing false: they choose whom their words reach, when and how often.

No evidence can ever be had of them, so the rules must bear them for ever.
"""

from typing import Final

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.types.block import Proposal
from p2p_aios.types.message import Backfill, CommitteeMessage
from p2p_aios.types.vote import Certificate, Vote, VoteKind
from p2p_aios.units import Address
from testnet.simulate.dishonest import Villain
from testnet.simulate.surroundings import Surroundings

KEPT_MAX: Final = 400
"""Messages a replayer remembers; any of them makes room for a new one."""
REPLAYS: Final = 2
"""Old messages beside each new one."""
BRINK_MS: Final = (-40, -20, -10, 10)
"""Around the moment voters give up: with the way's length, just before it or just after."""


class Silent(Villain):
    """Keeps its streams up and says nothing.

    Attacks the pacing: nothing tells of its absence but silence, which must not cost a time-out
    for ever.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        del recipients, message


class Withholder(Villain):
    """Shows its block to as few as make a quorum, and answers no request.

    Attacks the backfill: whoever lacks a notarized block must get it from another voter.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        match message:
            case Proposal():
                shown = self.world.dice.sample(recipients, max(1, len(recipients) * 2 // 3))
                self.say(tuple(shown), message)
            case Backfill():
                pass
            case Certificate() if len(recipients) == 1:
                pass
            case _:
                self.say(recipients, message)


class Replayer(Villain):
    """Says again, much later and to anyone, what it said, and what anyone may say after others.

    Attacks the bounds on what is old: a vote counts in its epoch and view alone, a decided view's
    certificate changes nothing, and blocks nobody asked for are not kept.
    """

    def __init__(self, world: Surroundings, index: int, keys: KeyPair) -> None:
        super().__init__(world, index, keys)
        self._kept: list[CommitteeMessage] = []

    def receive(self, sender: Address, message: CommitteeMessage) -> None:
        # Votes and proposals are taken from their voter only: saying them would be a garbler's.
        if isinstance(message, Certificate | Backfill):
            self._keep(message)
        super().receive(sender, message)

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        self.say(recipients, message)
        self._keep(message)
        for _ in range(REPLAYS):
            self.say(recipients, self.world.dice.choice(self._kept))

    def _keep(self, message: CommitteeMessage) -> None:
        if len(self._kept) == KEPT_MAX:
            self._kept.pop(self.world.dice.randrange(KEPT_MAX))
        self._kept.append(message)


class Splitter(Villain):
    """Says everything to some at once, to the rest a while later or never, drawn each time.

    Attacks what brings members together again: no two hold the same of its votes, so some see a
    quorum that others do not, and must be shown its certificate.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        dice = self.world.dice
        some = tuple(peer for peer in recipients if dice.random() < 0.5)
        self.say(some, message)
        if dice.random() < 0.6:
            rest = tuple(peer for peer in recipients if peer not in some)
            self.say_later(dice.choice((100, 400, 700, 900, 1500)), rest, message)


class Hoarder(Villain):
    """Shows each certificate, often late, to one member alone; to one, too, its finalize votes.

    Attacks the entering of views and finality: the one that knows goes on, and the others must
    follow by what it says.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        dice = self.world.dice
        match message:
            case Certificate():
                delay_ms = dice.choice((0, 300, 900, 2500))
                self.say_later(delay_ms, (dice.choice(recipients),), message)
            case Vote(ballot=ballot) if ballot.kind is VoteKind.FINALIZE:
                self.say((dice.choice(recipients),), message)
            case _:
                self.say(recipients, message)


class Latecomer(Villain):
    """Proposes at the moment voters give up, and to half of them, as it shows its notarize votes.

    Attacks the time-outs: some support the block while others nullify, some do both, and the view
    may earn both certificates; only a finalize vote may keep a member from nullifying.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        some, _ = self.halves(recipients)
        match message:
            case Proposal():
                self.say_later(self._brink_ms(), some, message)
            case Vote(ballot=ballot) if ballot.kind is VoteKind.NOTARIZE:
                self.say(some, message)
            case _:
                self.say(recipients, message)

    def _brink_ms(self) -> int:
        """From the slot on: proposals are given up after 2Δ, the votes on them after 3Δ."""
        deltas = self.world.dice.choice((2, 2, 3))
        return deltas * self.world.params.delta_ms + self.world.dice.choice(BRINK_MS)
