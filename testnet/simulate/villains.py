"""Dishonest validators, named for their villainy: the real core, lying on the way out."""

from dataclasses import replace

from p2p_aios.consensus.events import Build
from p2p_aios.types.block import Block, Proposal, block_hash, transactions_root
from p2p_aios.types.message import Backfill, CommitteeMessage, RequestBlocks, RequestCertificates
from p2p_aios.types.vote import Ballot, Certificate, Vote, VoteKind, ballot_digest
from p2p_aios.units import ZERO_HASH, Address, Epoch, Hash, Millis, Signature, View
from testnet.simulate.application import CHAIN_ID, state_after
from testnet.simulate.validator import Validator


class Villain(Validator):
    """Signs whatever it likes."""

    def vote(self, kind: VoteKind, like: Vote, block: Hash) -> Vote:
        ballot = Ballot(kind, like.ballot.epoch, like.ballot.view, block)
        signature = self.keys.sign_digest(ballot_digest(CHAIN_ID, ballot))
        return Vote(ballot, like.seat, signature)

    def say(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        self.world.send(self.keys.address, recipients, message)

    def halves(
        self, recipients: tuple[Address, ...]
    ) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
        middle = (len(recipients) + self.world.dice.randint(0, 1)) // 2
        return recipients[:middle], recipients[middle:]


class Equivocator(Villain):
    """Proposes one block to some and another to the rest; votes for two blocks at once."""

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


class Nuller(Villain):
    """Proposes nothing and nullifies every view it hears of."""

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        match message:
            case Proposal(vote=vote) | (Vote() as vote):
                self.say(recipients, self.vote(VoteKind.NULLIFY, vote, ZERO_HASH))
            case _:
                self.say(recipients, message)


class Silent(Villain):
    """Keeps its streams up and says nothing."""

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        del recipients, message


class Withholder(Villain):
    """Shows its block to as few as make a quorum, and answers no request."""

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


class Finalizer(Villain):
    """Finalizes what it nullifies, and nullifies what it finalizes."""

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
    """Dates its blocks wrongly, or leaves a wrong state behind; all else is honest."""

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
    """Sends nonsense of every kind beside the truth."""

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


def villain(name: str | None) -> type[Validator]:
    """The class behind a name of `conditions.VILLAINS`; the honest one for None."""
    kinds: dict[str | None, type[Validator]] = {
        None: Validator,
        "equivocator": Equivocator,
        "nuller": Nuller,
        "silent": Silent,
        "withholder": Withholder,
        "finalizer": Finalizer,
        "timewarper": Timewarper,
        "garbler": Garbler,
    }
    return kinds[name]
