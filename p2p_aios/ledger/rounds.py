"""A round up to its panel: COMMIT, REVEAL, and what happens when too few act.

A phase closes with the transaction of its last seat, else at the first block beyond its deadline.
"""

from dataclasses import replace

from p2p_aios.codec.cid import is_cid
from p2p_aios.errors import Invalid
from p2p_aios.ledger.accounts import pay_in, pay_out
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import LearningRound, LearningTask, RoundPhase, RoundSeat
from p2p_aios.ledger.state import State
from p2p_aios.ledger.supply import move
from p2p_aios.ledger.tables import ROUNDS, TASKS, round_key
from p2p_aios.ledger.tasks import end_round, leave_seats, set_due
from p2p_aios.types.event import (
    AttestOpened,
    RevealedUpdate,
    RevealOpened,
    RoundVoided,
    UpdateRefused,
)
from p2p_aios.types.learning import CommitUpdate, RevealUpdate, Round, TaskId, update_commitment
from p2p_aios.units import Address, Amount, Hash, Height


def find_round(state: State, task: TaskId, number: Round) -> tuple[LearningTask, LearningRound]:
    """Raises Invalid: `unknown_task`, `unknown_round`."""
    record = state.get(TASKS, task)
    if record is None:
        raise Invalid("unknown_task", "no such learning task at this height")
    learning_round = state.get(ROUNDS, round_key(task, number))
    if learning_round is None:
        raise Invalid("unknown_round", f"round {number} has not opened")
    return record, learning_round


def check_commit(state: State, sender: Address, action: CommitUpdate) -> int:
    """The sender's place in the round's seats.

    Raises Invalid: `unknown_task`, `unknown_round`, `round_not_committing`, `not_seated`,
    `already_committed`.
    """
    _, learning_round = find_round(state, action.task, action.round)
    if learning_round.phase is not RoundPhase.COMMIT:
        raise Invalid("round_not_committing", f"the round is in {learning_round.phase.name}")
    place = _place(learning_round, sender)
    if learning_round.seats[place].commitment is not None:
        raise Invalid("already_committed", "the seat has committed to its update")
    return place


def commit_update(env: Environment, sender: Address, action: CommitUpdate) -> None:
    """Take the seat's commitment and bond; the last seat opens REVEAL.

    Raises Invalid: those of `check_commit`, `funds_insufficient`.
    """
    state = env.state
    place = check_commit(state, sender, action)
    task, learning_round = find_round(state, action.task, action.round)
    pay_in(state, sender, "bonds", task.spec.bond)
    seat = replace(learning_round.seats[place], commitment=action.commitment)
    committed = replace(
        learning_round,
        seats=_with_seat(learning_round, place, seat),
        bonds=Amount(learning_round.bonds + task.spec.bond),
    )
    if all(seat.commitment is not None for seat in committed.seats):
        close_commit(env, task, committed)
    else:
        put_round(state, committed)


def check_reveal(state: State, chain_id: Hash, sender: Address, action: RevealUpdate) -> int:
    """The sender's place in the round's seats.

    Raises Invalid: `unknown_task`, `unknown_round`, `round_not_revealing`, `not_seated`,
    `not_committed`, `already_revealed`, `cid_malformed`, `commitment_mismatch`.
    """
    _, learning_round = find_round(state, action.task, action.round)
    if learning_round.phase is not RoundPhase.REVEAL:
        raise Invalid("round_not_revealing", f"the round is in {learning_round.phase.name}")
    place = _place(learning_round, sender)
    seat = learning_round.seats[place]
    if seat.commitment is None:
        raise Invalid("not_committed", "the seat did not commit in this round")
    if seat.update is not None:
        raise Invalid("already_revealed", "the seat has revealed its update")
    if not is_cid(action.update):
        raise Invalid("cid_malformed", "the update is not a raw or dag-cbor sha2-256 CIDv1")
    expected = update_commitment(
        chain_id,
        action.task,
        action.round,
        sender,
        learning_round.base,
        action.update,
        action.salt,
    )
    if expected != seat.commitment:
        raise Invalid("commitment_mismatch", "update and salt are not what the seat committed to")
    return place


def reveal_update(env: Environment, sender: Address, action: RevealUpdate) -> None:
    """Take the seat's update; the last committed seat opens ATTEST.

    Raises Invalid: those of `check_reveal`.
    """
    state = env.state
    place = check_reveal(state, env.context.chain_id, sender, action)
    task, learning_round = find_round(state, action.task, action.round)
    seat = replace(learning_round.seats[place], update=action.update)
    revealed = replace(learning_round, seats=_with_seat(learning_round, place, seat))
    if all((seat.commitment is None) == (seat.update is None) for seat in revealed.seats):
        close_reveal(env, task, revealed)
    else:
        put_round(state, revealed)


def close_commit(env: Environment, task: LearningTask, learning_round: LearningRound) -> None:
    """COMMIT is over: open REVEAL, or void the round where it cannot succeed any more."""
    committed = tuple(s.worker for s in learning_round.seats if s.commitment is not None)
    if len(committed) < task.spec.updates_min:
        void_round(env, task, learning_round, "too_few_updates")
        return
    deadline = Height(env.context.height + task.spec.reveal_blocks)
    _enter(env, replace(learning_round, phase=RoundPhase.REVEAL, deadline=deadline))
    env.events.append(RevealOpened(task.id, task.round, committed, deadline))


def close_reveal(env: Environment, task: LearningTask, learning_round: LearningRound) -> None:
    """REVEAL is over: who did not reveal forfeits; open ATTEST, or void the round."""
    for seat in learning_round.seats:
        if seat.commitment is not None and seat.update is None:
            forfeit_bond(env, task, seat.worker, "update_unrevealed")
    updates = tuple(
        RevealedUpdate(seat.worker, seat.update)
        for seat in learning_round.seats
        if seat.update is not None
    )
    if len(updates) < task.spec.updates_min:
        void_round(env, task, learning_round, "too_few_updates")
        return
    deadline = Height(env.context.height + task.spec.attest_blocks)
    attesting = replace(
        learning_round,
        phase=RoundPhase.ATTEST,
        deadline=deadline,
        bonds=Amount(task.spec.bond * len(updates)),
        panel=env.context.epoch,
    )
    _enter(env, attesting)
    env.events.append(AttestOpened(task.id, task.round, learning_round.base, updates, deadline))


def void_round(
    env: Environment, task: LearningTask, learning_round: LearningRound, code: str
) -> None:
    """No model comes of the round: bonds still held go back; the next one has the same base."""
    for seat in learning_round.seats:
        if _holds_bond(learning_round, seat):
            return_bond(env.state, task, seat.worker)
    env.events.append(RoundVoided(task.id, task.round, code))
    close_round(env, replace(learning_round, phase=RoundPhase.VOIDED, code=code))
    end_round(env, task, task.model)


def close_round(env: Environment, learning_round: LearningRound) -> None:
    """Store a SETTLED or VOIDED round, whose bonds are judged; who attested is not needed now."""
    leave_seats(env.state, learning_round)
    closed = replace(learning_round, attestations=(), bonds=Amount(0), deadline=env.context.height)
    put_round(env.state, closed)


def return_bond(state: State, task: LearningTask, worker: Address) -> None:
    pay_out(state, "bonds", worker, task.spec.bond)


def forfeit_bond(env: Environment, task: LearningTask, worker: Address, code: str) -> None:
    """The worker's bond goes to the reserve."""
    move(env.state, "bonds", "reserve", task.spec.bond)
    env.events.append(UpdateRefused(task.id, task.round, worker, code))


def put_round(state: State, learning_round: LearningRound) -> None:
    state.put(ROUNDS, round_key(learning_round.task, learning_round.number), learning_round)


def _holds_bond(learning_round: LearningRound, seat: RoundSeat) -> bool:
    """In COMMIT a commitment is bonded; later only what was revealed still is."""
    if learning_round.phase is RoundPhase.COMMIT:
        return seat.commitment is not None
    return seat.update is not None


def _place(learning_round: LearningRound, worker: Address) -> int:
    for place, seat in enumerate(learning_round.seats):
        if seat.worker == worker:
            return place
    raise Invalid("not_seated", "the sender was not drawn for this round")


def _with_seat(learning_round: LearningRound, place: int, seat: RoundSeat) -> tuple[RoundSeat, ...]:
    seats = learning_round.seats
    return (*seats[:place], seat, *seats[place + 1 :])


def _enter(env: Environment, learning_round: LearningRound) -> None:
    put_round(env.state, learning_round)
    set_due(env.state, learning_round.task, learning_round.deadline)
