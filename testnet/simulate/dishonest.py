"""What every dishonest validator has: the real core, and its own way with whatever leaves it."""

from p2p_aios.types.message import CommitteeMessage
from p2p_aios.types.vote import Ballot, Vote, VoteKind, ballot_digest
from p2p_aios.units import Address, Hash
from testnet.simulate.application import CHAIN_ID
from testnet.simulate.validator import Validator


class Villain(Validator):
    """Signs whatever it likes."""

    def vote(self, kind: VoteKind, like: Vote, block: Hash) -> Vote:
        ballot = Ballot(kind, like.ballot.epoch, like.ballot.view, block)
        signature = self.keys.sign_digest(ballot_digest(CHAIN_ID, ballot))
        return Vote(ballot, like.seat, signature)

    def say(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        self.world.send(self.keys.address, recipients, message)

    def say_later(
        self, delay_ms: int, recipients: tuple[Address, ...], message: CommitteeMessage
    ) -> None:
        self._later(delay_ms, lambda: self.say(recipients, message))

    def halves(
        self, recipients: tuple[Address, ...]
    ) -> tuple[tuple[Address, ...], tuple[Address, ...]]:
        middle = (len(recipients) + self.world.dice.randint(0, 1)) // 2
        return recipients[:middle], recipients[middle:]
