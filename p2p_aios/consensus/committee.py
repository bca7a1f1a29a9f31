"""Committee arithmetic: quorums, the order of leaders, certificates.

Pure functions of a `Committee`; sync and light clients use `verify_certificate` too.
"""

from collections.abc import Sequence
from itertools import pairwise

from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import is_signed
from p2p_aios.errors import Invalid, invariant
from p2p_aios.types.committee import Committee, Member, is_quorum
from p2p_aios.types.vote import (
    Ballot,
    Certificate,
    Seat,
    Vote,
    ballot_digest,
    is_well_formed,
)
from p2p_aios.units import Address, Epoch, Hash, Height, View


def is_blocking(signed: int, total: int) -> bool:
    """Whether the rest alone cannot make a quorum."""
    return not is_quorum(total - signed, total)


def last_height(epoch: Epoch, epoch_blocks: int) -> Height:
    """Height of the epoch's last block; epoch 0 begins with height 1."""
    return Height((epoch + 1) * epoch_blocks)


class Roster:
    """A committee with what follows from it, computed once."""

    def __init__(self, committee: Committee) -> None:
        self.committee = committee
        self.total = sum(member.weight for member in committee.members)
        self._seats = {member.address: seat for seat, member in enumerate(committee.members)}
        self._leaders = bytearray()
        self._turns = [0] * len(committee.members)
        self._phases = [_phase(committee.seed, member) for member in committee.members]

    def member(self, seat: Seat) -> Member:
        return self.committee.members[seat]

    def seat_of(self, address: Address) -> Seat | None:
        return self._seats.get(address)

    def weight_of(self, seats: Sequence[Seat]) -> int:
        return sum(self.committee.members[seat].weight for seat in seats)

    def leader(self, view: View) -> Seat:
        """Whose turn `view` is: a smooth weighted round-robin with seeded phases.

        Seat i takes its k-th turn at the virtual time (k + phase_i) / weight_i, the phase a
        fraction drawn from the epoch's seed. In any stretch each seat leads its share of the views
        within one turn, and its turns lie evenly apart.
        """
        while len(self._leaders) < view:
            seat = min(range(len(self._turns)), key=self._turn_time)
            self._turns[seat] += 1
            self._leaders.append(seat)
        return self._leaders[view - 1]

    def _turn_time(self, seat: Seat) -> int:
        # In units of 2^-128, rounded down; equal times fall to the lower seat.
        return (((self._turns[seat] << 64) + self._phases[seat]) << 64) // self.member(seat).weight


def _phase(seed: Hash, member: Member) -> int:
    """64 bits of the member's fraction of a turn."""
    return int.from_bytes(sha256(b"aios/leader/v1" + seed + member.address)[:8], "big")


def assemble_certificate(roster: Roster, votes: Sequence[Vote]) -> Certificate | None:
    """The certificate these votes make; None short of a quorum.

    The votes are on one ballot, of different seats, and their signatures are checked.
    """
    if not votes or not is_quorum(roster.weight_of([vote.seat for vote in votes]), roster.total):
        return None
    ordered = sorted(votes, key=lambda vote: vote.seat)
    ballot = ordered[0].ballot
    invariant(all(vote.ballot == ballot for vote in ordered), "a certificate has one ballot")
    return Certificate(
        ballot,
        tuple(vote.seat for vote in ordered),
        tuple(vote.signature for vote in ordered),
    )


def verify_vote(committee: Committee, chain_id: Hash, vote: Vote) -> None:
    """Check a vote's shape, seat and signature.

    Raises Invalid: `ballot_malformed`, `vote_epoch`, `vote_seat`, `vote_signature`.
    """
    _require_ballot(committee, vote.ballot, "vote_epoch")
    if vote.seat >= len(committee.members):
        raise Invalid("vote_seat", f"seat {vote.seat} is not in this committee")
    key = committee.members[vote.seat].public_key
    if not is_signed(key, ballot_digest(chain_id, vote.ballot), vote.signature):
        raise Invalid("vote_signature", f"the vote is not signed by seat {vote.seat}")


def verify_certificate(committee: Committee, chain_id: Hash, certificate: Certificate) -> None:
    """Check that `certificate` carries a quorum of the committee's signatures on its ballot.

    Raises Invalid: `ballot_malformed`, `certificate_epoch`, `certificate_seats`,
    `certificate_quorum`, `certificate_signature`.
    """
    ballot, seats = certificate.ballot, certificate.seats
    _require_ballot(committee, ballot, "certificate_epoch")
    ascending = all(low < high for low, high in pairwise(seats))
    if not seats or not ascending or seats[-1] >= len(committee.members):
        raise Invalid("certificate_seats", "seats must ascend and belong to the committee")
    if len(certificate.signatures) != len(seats):
        raise Invalid("certificate_seats", "a certificate carries one signature per seat")
    members = [committee.members[seat] for seat in seats]
    total = sum(member.weight for member in committee.members)
    if not is_quorum(sum(member.weight for member in members), total):
        raise Invalid("certificate_quorum", "signed weight is not above two thirds")
    digest = ballot_digest(chain_id, ballot)
    for member, signature in zip(members, certificate.signatures, strict=True):
        if not is_signed(member.public_key, digest, signature):
            raise Invalid("certificate_signature", "a signature is not its member's")


def _require_ballot(committee: Committee, ballot: Ballot, epoch_code: str) -> None:
    if not is_well_formed(ballot):
        raise Invalid("ballot_malformed", "a ballot names a block unless it nullifies")
    if ballot.epoch != committee.epoch:
        raise Invalid(epoch_code, f"epoch {ballot.epoch} is not this committee's")
