"""Villains that say what no honest validator says, most of it under their own signature."""

from dataclasses import replace
from functools import partial

from p2p_aios.consensus.events import Build
from p2p_aios.types.block import Block, Proposal, block_hash, transactions_root
from p2p_aios.types.message import Backfill, CommitteeMessage, RequestBlocks, RequestCertificates
from p2p_aios.types.vote import Certificate, Vote, VoteKind
from p2p_aios.units import ZERO_HASH, Address, Epoch, Hash, Millis, Signature, View
from testnet.simulate.application import state_after
from testnet.simulate.dishonest import Villain


class Equivocator(Villain):
    """Proposes one block to some and another to the rest; votes for two blocks at once.

    Attacks the quorum: any two share an honest vote, so a view notarizes one block at most.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        some, rest = self.halves(recipients)
        match message:
            case Proposal() if message.block.header.view == message.view:
                self.say(some, message)
                self.say(rest, self._twin(message))
            case Vote(ballot=ballot) if ballot.kind is VoteKind.NOTARIZE:
                self.say(some, message)
                other = Hash(bytes(reversed(ballot.block)))
                self.say(rest, self.vote(VoteKind.NOTARIZE, message, other))
            case _:
                self.say(recipients, message)

    def _twin(self, proposal: Proposal) -> Proposal:
        header = proposal.block.header
        body = (b"the other one",)
        state = state_after(self._state_of(header.parent), header.height, body)
        twin = Block(replace(header, tx_root=transactions_root(body), state_root=state), body)
        vote = self.vote(VoteKind.NOTARIZE, proposal.vote, block_hash(twin.header))
        return replace(proposal, block=twin, vote=vote)


class DoubleDealer(Equivocator):
    """Equivocates to each member by itself, and to some of them a while later.

    Attacks the giving up of views whose leader's contradictions left no block a quorum: members
    learn of them in any order, some after they supported one side, and still must agree.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        deal = super().transmit
        for peer in recipients:
            if self.world.dice.random() < 0.8:
                deal((peer,), message)
            else:
                delay_ms = self.world.dice.choice((200, 700))
                self._later(delay_ms, partial(deal, (peer,), message))


class Nuller(Villain):
    """Proposes nothing and nullifies every view it hears of.

    Attacks the pacing: only a quorum may end a view without a block.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        match message:
            case Proposal(vote=vote) | (Vote() as vote):
                self.say(recipients, self.vote(VoteKind.NULLIFY, vote, ZERO_HASH))
            case _:
                self.say(recipients, message)


class Finalizer(Villain):
    """Finalizes what it nullifies, and nullifies what it finalizes.

    Attacks the exclusion of the two, which makes a nullified view safe to build past.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        self.say(recipients, message)
        match message:
            case Vote(ballot=ballot) if ballot.kind is VoteKind.FINALIZE:
                self.say(recipients, self.vote(VoteKind.NULLIFY, message, ZERO_HASH))
            case Vote(ballot=ballot) if ballot.kind is VoteKind.NULLIFY:
                some, rest = self.halves(recipients)
                self.say(some, self.vote(VoteKind.FINALIZE, message, Hash(b"\x11" * 32)))
                self.say(rest, self.vote(VoteKind.FINALIZE, message, Hash(b"\x22" * 32)))
            case _:
                pass


class Timewarper(Villain):
    """Dates its blocks wrongly, or leaves a wrong state behind; all else is honest.

    Attacks the voters' part: they hold what is early and execute before they support.
    """

    def _build(self, task: Build) -> None:
        warp = self.world.dice.choice((-1, 0, 3_000, 10**12))
        super()._build(replace(task, timestamp_ms=Millis(task.timestamp_ms + warp)))

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        if isinstance(message, Proposal) and self.world.dice.random() < 0.3:
            header = replace(message.block.header, state_root=ZERO_HASH)
            block = replace(message.block, header=header)
            vote = self.vote(VoteKind.NOTARIZE, message.vote, block_hash(header))
            message = replace(message, block=block, vote=vote)
        self.say(recipients, message)


class Garbler(Villain):
    """Sends nonsense of every kind beside the truth.

    Attacks the checks: whatever a peer sends is hostile until it is decoded and validated.
    """

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        self.say(recipients, message)
        vote = message.vote if isinstance(message, Proposal) else message
        if not isinstance(vote, Vote):
            return
        for nonsense in self.world.dice.sample(self._nonsense(vote, message), 3):
            self.say(recipients, nonsense)

    def _nonsense(self, vote: Vote, message: CommitteeMessage) -> list[CommitteeMessage]:
        dice, ballot = self.world.dice, vote.ballot
        junk = Signature(dice.randbytes(64))
        far = replace(ballot, view=View(dice.choice((0, ballot.view + 9, 2**40, 2**64 - 1))))
        later = replace(ballot, epoch=Epoch(ballot.epoch + dice.randint(1, 3)))
        seats = tuple(range(len(self.world.keys)))
        nonsense: list[CommitteeMessage] = [
            replace(vote, signature=junk),
            replace(vote, seat=63),
            replace(vote, seat=(vote.seat + 1) % len(seats)),
            self.vote(ballot.kind, replace(vote, ballot=far), ballot.block),
            replace(vote, ballot=later),
            self.vote(VoteKind.NULLIFY, vote, Hash(b"\x07" * 32)),
            Certificate(far, seats, (junk,) * len(seats)),
            Certificate(ballot, (vote.seat,) * 4, (vote.signature,) * 4),
            Certificate(ballot, (vote.seat,), (vote.signature,)),
            Certificate(later, seats, (junk,) * len(seats)),
            Certificate(replace(ballot, kind=VoteKind.FINALIZE), seats, (junk,) * 2),
            RequestCertificates(ballot.epoch, tuple(View(v) for v in range(32))),
            RequestBlocks(Hash(dice.randbytes(32)), 7),
            RequestBlocks(ballot.block, 7),
        ]
        if isinstance(message, Proposal):
            body = (b"not the header's",)
            nonsense += [
                replace(message, block=replace(message.block, transactions=body)),
                replace(message, view=View(message.view + 1)),
                replace(message, parent_view=View(2**64 - 1)),
                Backfill((message.block,) * 3),
            ]
        return nonsense
