"""A round's panel: every member recomputes, says what it found, and equal findings settle.

The panel is the committee of the epoch in which ATTEST opened. More than 2/3 of its weight on one
statement settles the round.
"""

from dataclasses import replace

from p2p_aios.codec.cid import is_cid
from p2p_aios.errors import Invalid
from p2p_aios.ledger.accounts import pay_out
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import (
    Attestation,
    LearningRound,
    LearningTask,
    RoundPhase,
    RoundSeat,
)
from p2p_aios.ledger.rounds import (
    close_round,
    find_round,
    forfeit_bond,
    put_round,
    return_bond,
    void_round,
)
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import COMMITTEES, ROUNDS, VALIDATORS, epoch_key, round_key
from p2p_aios.ledger.tasks import end_round
from p2p_aios.ledger.workers import count_accepted
from p2p_aios.types.committee import is_quorum
from p2p_aios.types.event import AttestationRefused, RoundSettled, RoundVoided
from p2p_aios.types.learning import AttestRound, Verdict, refusal_code
from p2p_aios.units import Address, Amount

_CLOSED = (RoundPhase.SETTLED, RoundPhase.VOIDED)


def is_first_attestation(state: State, sender: Address, action: AttestRound) -> bool:
    """Whether a panel member has not yet been heard on the round."""
    learning_round = state.get(ROUNDS, round_key(action.task, action.round))
    return (
        learning_round is not None
        and sender not in learning_round.heard
        and sender in _panel_weights(state, learning_round)
    )


def check_attestation(
    state: State, sender: Address, action: AttestRound
) -> tuple[LearningTask, LearningRound]:
    """Raises Invalid: `unknown_task`, `unknown_round`, `round_not_attesting`, `not_on_panel`,
    `attestation_malformed`, `cid_malformed`."""
    task, learning_round = find_round(state, action.task, action.round)
    is_closed = learning_round.phase in _CLOSED and learning_round.panel is not None
    if learning_round.phase is not RoundPhase.ATTEST and not is_closed:
        raise Invalid("round_not_attesting", f"the round is in {learning_round.phase.name}")
    if sender not in _panel_weights(state, learning_round):
        raise Invalid("not_on_panel", "the sender has no seat on the panel of this round")
    if is_closed and sender in learning_round.heard:
        raise Invalid("round_not_attesting", "the round is closed and has heard the sender")
    _check_statement(task, learning_round, action)
    return task, learning_round


def attest_round(env: Environment, sender: Address, action: AttestRound) -> None:
    """Record or replace the sender's attestation; a quorum of equal ones settles the round.

    A first attestation that comes after the round closed is still heard, and judged.
    Raises Invalid as `check_attestation`.
    """
    state = env.state
    task, learning_round = check_attestation(state, sender, action)
    heard = learning_round.heard
    if sender not in heard:
        heard = (*heard, sender)
    if learning_round.phase in _CLOSED:
        put_round(state, replace(learning_round, heard=heard))
        if learning_round.settled not in (None, action):
            _refuse(env, sender, action)
        return
    others = tuple(a for a in learning_round.attestations if a.validator != sender)
    attested = replace(
        learning_round, attestations=(*others, Attestation(sender, action)), heard=heard
    )
    if _has_quorum(state, attested, action):
        _settle(env, task, attested, action)
    else:
        put_round(state, attested)


def close_attest(env: Environment, task: LearningTask, learning_round: LearningRound) -> None:
    """The deadline passed without a quorum: nobody is judged, all bonds go back."""
    void_round(env, task, learning_round, "no_quorum")


def _check_statement(
    task: LearningTask, learning_round: LearningRound, statement: AttestRound
) -> None:
    if len(statement.verdicts) != len(learning_round.revealed):
        raise Invalid("attestation_malformed", "one verdict per revealed update is needed")
    if not is_cid(statement.aggregate):
        raise Invalid("cid_malformed", "the aggregate is not a raw or dag-cbor sha2-256 CIDv1")
    accepted = statement.verdicts.count(Verdict.ACCEPTED)
    if accepted < task.spec.updates_min and statement.aggregate != learning_round.base:
        raise Invalid("attestation_malformed", "too few accepted: the aggregate is the base")


def _panel_weights(state: State, learning_round: LearningRound) -> dict[Address, int]:
    """Weight by validator; empty before ATTEST and once the committee is forgotten."""
    if learning_round.panel is None:
        return {}
    committee = state.get(COMMITTEES, epoch_key(learning_round.panel))
    return {member.address: member.weight for member in committee.members} if committee else {}


def _has_quorum(state: State, learning_round: LearningRound, statement: AttestRound) -> bool:
    weights = _panel_weights(state, learning_round)
    agreeing = sum(
        weights[a.validator] for a in learning_round.attestations if a.statement == statement
    )
    return is_quorum(agreeing, sum(weights.values()))


def _settle(
    env: Environment, task: LearningTask, learning_round: LearningRound, statement: AttestRound
) -> None:
    """Judge updates and attesters, pay, and go on to the next round."""
    for attestation in learning_round.attestations:
        if attestation.statement != statement:
            _refuse(env, attestation.validator, attestation.statement)
    accepted = []
    for seat, verdict in zip(learning_round.revealed, statement.verdicts, strict=True):
        if verdict is Verdict.ACCEPTED:
            accepted.append(seat.worker)
            return_bond(env.state, task, seat.worker)
        else:
            forfeit_bond(env, task, seat.worker, refusal_code(verdict))
    judged = replace(
        learning_round, seats=_with_verdicts(learning_round, statement), settled=statement
    )
    if len(accepted) < task.spec.updates_min:
        code = "too_few_updates"
        env.events.append(RoundVoided(task.id, task.round, code))
        close_round(env, replace(judged, phase=RoundPhase.VOIDED, code=code))
        end_round(env, task, task.model)
    else:
        share = Amount(task.spec.budget // task.spec.rounds // len(accepted))
        paid_task = _pay(env, task, tuple(accepted), statement, share)
        close_round(env, replace(judged, phase=RoundPhase.SETTLED, paid=share))
        end_round(env, paid_task, statement.aggregate)


def _pay(
    env: Environment,
    task: LearningTask,
    accepted: tuple[Address, ...],
    statement: AttestRound,
    share: Amount,
) -> LearningTask:
    """`share`, ⌊budget / rounds / K⌋, to each of the K accepted; the rest stays in escrow."""
    for worker in accepted:
        pay_out(env.state, "escrow", worker, share)
    count_accepted(env.state, accepted)
    settled = RoundSettled(
        task.id, task.round, statement.aggregate, statement.score, share, accepted
    )
    env.events.append(settled)
    return replace(task, escrow=Amount(task.escrow - share * len(accepted)))


def _refuse(env: Environment, validator: Address, statement: AttestRound) -> None:
    """An attestation other than the settled one counts against the validator."""
    record = env.state.require(VALIDATORS, validator)
    wrong = replace(record, wrong_attestations=record.wrong_attestations + 1)
    env.state.put(VALIDATORS, validator, wrong)
    env.events.append(
        AttestationRefused(statement.task, statement.round, validator, "attestation_wrong")
    )


def _with_verdicts(learning_round: LearningRound, statement: AttestRound) -> tuple[RoundSeat, ...]:
    verdicts = iter(statement.verdicts)
    return tuple(
        seat if seat.update is None else replace(seat, verdict=next(verdicts))
        for seat in learning_round.seats
    )
