"""Evidence of equivocation (DESIGN §6): two votes that no honest key signs both."""

from dataclasses import replace

from p2p_aios.crypto.keys import is_signed
from p2p_aios.errors import Invalid
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.tables import COMMITTEES, VALIDATORS, epoch_key
from p2p_aios.types.committee import Member
from p2p_aios.types.event import EvidenceRecorded
from p2p_aios.types.transaction import ReportEvidence
from p2p_aios.types.vote import Ballot, Vote, ballot_digest, is_conflict


def report_evidence(env: Environment, action: ReportEvidence) -> None:
    """Record a fault of the validator that signed both votes.

    Raises Invalid: `evidence_not_conflicting`, `evidence_expired`, `evidence_unknown_epoch`,
    `evidence_unknown_seat`, `evidence_signature_invalid`, `evidence_repeated`.
    """
    first, second = action.first, action.second
    if first.seat != second.seat or not is_conflict(first.ballot, second.ballot):
        raise Invalid(
            "evidence_not_conflicting",
            "these votes can both be honest: evidence is two different notarize or finalize votes, "
            "or a finalize and a nullify, of one seat in one epoch and view",
        )
    member = _member(env, first)
    for vote in (first, second):
        digest = ballot_digest(env.context.chain_id, vote.ballot)
        if not is_signed(member.public_key, digest, vote.signature):
            raise Invalid("evidence_signature_invalid", "a vote is not signed by its seat's key")
    _record_fault(env, member, first.ballot)


def _member(env: Environment, vote: Vote) -> Member:
    epoch, now = vote.ballot.epoch, env.context.epoch
    if epoch > now:
        raise Invalid("evidence_unknown_epoch", f"epoch {epoch} has not begun, this is {now}")
    if epoch + env.context.params.evidence_epochs < now:
        raise Invalid(
            "evidence_expired", f"votes of epoch {epoch} are no longer punished in epoch {now}"
        )
    committee = env.state.require(COMMITTEES, epoch_key(epoch))
    if vote.seat >= len(committee.members):
        raise Invalid("evidence_unknown_seat", f"epoch {epoch} has no seat {vote.seat}")
    return committee.members[vote.seat]


def _record_fault(env: Environment, member: Member, ballot: Ballot) -> None:
    state, epoch = env.state, ballot.epoch
    validator = state.require(VALIDATORS, member.address)
    if epoch in validator.fault_epochs:
        raise Invalid("evidence_repeated", f"its fault in epoch {epoch} is already recorded")
    oldest = env.context.epoch - env.context.params.evidence_epochs
    punishable = [e for e in validator.fault_epochs if e >= oldest]
    faulted = replace(
        validator,
        faults=validator.faults + 1,
        fault_epochs=tuple(sorted([*punishable, epoch])),
    )
    state.put(VALIDATORS, member.address, faulted)
    env.events.append(EvidenceRecorded(member.address, epoch))
