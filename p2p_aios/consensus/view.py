"""What one view has shown so far: its proposal, its votes, its certificates."""

from dataclasses import dataclass, field

from p2p_aios.consensus.committee import Roster, assemble_certificate
from p2p_aios.types.block import Proposal
from p2p_aios.types.vote import Ballot, Certificate, Seat, Vote, VoteKind, is_conflict
from p2p_aios.units import Hash, View


def _by_kind() -> dict[VoteKind, dict[Seat, Vote]]:
    return {kind: {} for kind in VoteKind}


@dataclass(slots=True)
class Round:
    """One view of one epoch's instance."""

    view: View
    proposal: Proposal | None = None
    """The leader's first proposal that has the right form."""
    is_refused: bool = False
    """The leader's proposal can never be accepted."""
    votes: dict[VoteKind, dict[Seat, Vote]] = field(default_factory=_by_kind)
    """Checked votes; each seat's first of a kind."""
    ballots: set[Ballot] = field(default_factory=set)
    """All that a vote held here was ever cast for."""
    certificates: dict[VoteKind, Certificate] = field(default_factory=dict)
    shown: dict[VoteKind, set[Seat]] = field(default_factory=dict)
    """Seats that showed us a certificate of the kind: they need not be sent it."""

    def vote_of(self, kind: VoteKind, seat: Seat) -> Vote | None:
        return self.votes[kind].get(seat)

    def certified(self) -> Hash | None:
        """The block this view notarized. A finalization proves it too: more than a third of the
        weight, honest, saw the notarization."""
        for kind in (VoteKind.FINALIZE, VoteKind.NOTARIZE):
            if kind in self.certificates:
                return self.certificates[kind].ballot.block
        return None

    def is_nullified(self) -> bool:
        return VoteKind.NULLIFY in self.certificates

    def conflicting(self, vote: Vote) -> Vote | None:
        """A held vote of the same seat that no honest seat signs beside this one."""
        for kind in VoteKind:
            held = self.votes[kind].get(vote.seat)
            if held is not None and is_conflict(held.ballot, vote.ballot):
                return held
        return None

    def is_disputed(self, ballot: Ballot) -> bool:
        """Whether some seat may have voted for what conflicts with it: cheap, and mostly no."""
        return any(is_conflict(held, ballot) for held in self.ballots)

    def add(self, vote: Vote, roster: Roster) -> Certificate | None:
        """Hold a checked vote; the certificate it completes, if it does."""
        self.hold(vote)
        if vote.ballot.kind in self.certificates:
            return None
        return assemble_certificate(roster, self.votes_on(vote.ballot))

    def hold(self, vote: Vote) -> None:
        """Keep a checked vote, without a look at what it completes."""
        self.votes[vote.ballot.kind][vote.seat] = vote
        self.ballots.add(vote.ballot)

    def votes_on(self, ballot: Ballot) -> list[Vote]:
        return [vote for vote in self.votes[ballot.kind].values() if vote.ballot == ballot]

    def show(self, kind: VoteKind, seat: Seat) -> None:
        self.shown.setdefault(kind, set()).add(seat)

    def has_shown(self, kind: VoteKind, seat: Seat) -> bool:
        return seat in self.shown.get(kind, ())

    def settle(self, own: Seat | None) -> None:
        """Forget what an old view no longer needs: all but certificates and our own votes."""
        self.proposal = None
        self.shown.clear()
        for kind, votes in self.votes.items():
            self.votes[kind] = {seat: vote for seat, vote in votes.items() if seat == own}
