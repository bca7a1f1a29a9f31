"""Messages as they come in: of which epoch they are, whom they are from, whom they are for.

Members leave an epoch within a message delay of each other, and any of them may be gone for hours.
So what is early is kept, who lags is reminded, and who is ahead is a reason to catch up; each for
so many times a second and peer, since nothing here is checked yet.
"""

from typing import Final, assert_never

from p2p_aios.consensus.early import EarlyMessages
from p2p_aios.consensus.events import CatchUp, Now
from p2p_aios.consensus.fetching import answer_blocks, answer_certificates, receive_backfill
from p2p_aios.consensus.inquiries import Allowance
from p2p_aios.consensus.instance import Instance
from p2p_aios.consensus.proposals import receive_proposal
from p2p_aios.consensus.voting import greet, receive_certificate, receive_vote
from p2p_aios.types.block import Proposal
from p2p_aios.types.message import Backfill, CommitteeMessage, RequestBlocks, RequestCertificates
from p2p_aios.types.vote import Certificate, Seat, Vote, VoteKind
from p2p_aios.units import Address, Epoch

REMINDERS_MAX: Final = 2
"""Unasked certificates sent, and hints to catch up taken, per peer and second."""
STALE_VIEWS: Final = 2
"""A vote this far behind comes from a member that is stuck, not from a slow stream."""

MessageOfEpoch = Proposal | Vote | Certificate | RequestCertificates


class Reception:
    """Where peers' messages go, whichever epoch's instance runs."""

    def __init__(self, previous: Certificate | None) -> None:
        self.previous = previous
        """Finalization of the block that the running epoch is built on."""
        self._early = EarlyMessages()
        self._answers = Allowance()
        self._reminders = Allowance(REMINDERS_MAX)

    def receive(self, x: Instance, peer: Address, message: CommitteeMessage, now: Now) -> None:
        if peer == x.identity.keys.address:
            return
        match message:
            case RequestBlocks():
                if self._answers.take(peer, now.monotonic_ms):
                    answer_blocks(x, peer, message)
            case Backfill():
                _take_blocks(x, peer, message)
            case Proposal() | Vote() | Certificate() | RequestCertificates():
                self._receive_of_epoch(x, peer, message, now)
            case _:
                assert_never(message)

    def receive_early(self, x: Instance, now: Now) -> None:
        """Take what came for this epoch before it began."""
        for peer, message in self._early.take_all():
            self.receive(x, peer, message, now)

    def greet(self, x: Instance, peer: Address) -> None:
        """Bring a member whose stream stands again to where we are."""
        if x.roster.seat_of(peer) is None or x.view == 0:
            return
        if x.is_finished and x.finalization is not None:
            x.out.send((peer,), x.finalization)
        else:
            greet(x, peer)

    def _receive_of_epoch(
        self, x: Instance, peer: Address, message: MessageOfEpoch, now: Now
    ) -> None:
        epoch = _epoch_of(message)
        if epoch > x.epoch:
            self._keep(x, peer, message, epoch, now)
        elif epoch < x.epoch:
            if isinstance(message, Vote | RequestCertificates):
                self._remind(x, peer, self.previous, now)
        else:
            seat = x.roster.seat_of(peer)
            if seat is not None and x.view > 0:
                self._receive_current(x, peer, seat, message, now)

    def _receive_current(
        self, x: Instance, peer: Address, seat: Seat, message: MessageOfEpoch, now: Now
    ) -> None:
        if isinstance(message, Proposal | Vote):
            # Not by certificates: a member that may not sign sends those, and leads nothing.
            x.unheard[seat] = 0
        match message:
            case Proposal() if message.view <= x.settled_view:
                _take_blocks(x, peer, Backfill((message.block,)))
            case Proposal():
                receive_proposal(x, seat, message, now)
            case Certificate():
                receive_certificate(x, seat, message, now)
            case RequestCertificates():
                if self._answers.take(peer, now.monotonic_ms):
                    answer_certificates(x, peer, message)
            case Vote():
                if x.is_finished or message.ballot.view + STALE_VIEWS < x.view:
                    self._remind(x, peer, x.finalization, now)
                receive_vote(x, seat, message, now)
            case _:
                assert_never(message)

    def _keep(
        self, x: Instance, peer: Address, message: MessageOfEpoch, epoch: Epoch, now: Now
    ) -> None:
        """Take a sign that the peer has finished this epoch, and perhaps the next as well."""
        if epoch == x.epoch + 1:
            self._early.put(peer, message)
        if x.is_finished or x.view == 0 or not self._reminders.take(peer, now.monotonic_ms):
            return
        is_final = isinstance(message, Certificate) and message.ballot.kind is VoteKind.FINALIZE
        if epoch > x.epoch + 1 or is_final:
            x.out.emit(CatchUp(peer))
        else:
            x.out.send((peer,), RequestCertificates(x.epoch, (x.view,)))

    def _remind(
        self, x: Instance, peer: Address, certificate: Certificate | None, now: Now
    ) -> None:
        """Show a member that lags what has become final."""
        if certificate is not None and self._reminders.take(peer, now.monotonic_ms):
            x.out.send((peer,), certificate)


def _take_blocks(x: Instance, peer: Address, backfill: Backfill) -> None:
    seat = x.roster.seat_of(peer)
    if seat is not None and x.view > 0:
        receive_backfill(x, seat, backfill)


def _epoch_of(message: MessageOfEpoch) -> Epoch:
    match message:
        case Proposal(vote=vote) | (Vote() as vote):
            return vote.ballot.epoch
        case Certificate(ballot=ballot):
            return ballot.epoch
        case RequestCertificates(epoch=epoch):
            return epoch
