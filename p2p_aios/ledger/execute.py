"""A block's execution: context and transactions in; writes, receipts and events out.

    begin   reveal and mix · reward accrues · jobs fall due and are drawn · learning phases fall due
    each    fee and nonce, then the action; an action that fails leaves only those two
    end     fees join the pool · at an epoch's end: settlement, committees · supply is checked

A block that includes a transaction which may not be in it is invalid as a whole: `Invalid` leaves
`execute_block`. A failed action is the sender's affair: its receipt carries the code.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import assert_never

from p2p_aios.errors import Invalid
from p2p_aios.ledger.accounts import (
    account_of,
    apply_transfer,
    check_form,
    take_fee_and_nonce,
)
from p2p_aios.ledger.assignment import advance_jobs
from p2p_aios.ledger.attestation import attest_round
from p2p_aios.ledger.beacon import apply_reveal, set_beacon_anchor
from p2p_aios.ledger.committees import turn_committees
from p2p_aios.ledger.environment import BlockContext, Environment, epoch_of, is_epoch_end
from p2p_aios.ledger.evidence import report_evidence
from p2p_aios.ledger.jobs import submit_job, submit_receipt
from p2p_aios.ledger.phases import advance_tasks
from p2p_aios.ledger.records import Account
from p2p_aios.ledger.rounds import commit_update, reveal_update
from p2p_aios.ledger.settlement import settle_epoch
from p2p_aios.ledger.state import State, StateReader
from p2p_aios.ledger.supply import accrue_reward, check_supply, collect_fees
from p2p_aios.ledger.tables import CHAIN
from p2p_aios.ledger.tasks import submit_task
from p2p_aios.ledger.waivers import require_payable
from p2p_aios.ledger.workers import forget_retired, register_worker, retire_worker
from p2p_aios.types.compute import RegisterWorker, RetireWorker, SubmitJob, SubmitReceipt
from p2p_aios.types.event import Event
from p2p_aios.types.learning import AttestRound, CommitUpdate, RevealUpdate, SubmitTask
from p2p_aios.types.receipt import SUCCESS, Receipt
from p2p_aios.types.transaction import (
    CheckedTransaction,
    ReportEvidence,
    SetBeaconAnchor,
    Transfer,
)


@dataclass(frozen=True, slots=True)
class Execution:
    """What a block did."""

    writes: dict[bytes, bytes | None] = field(repr=False)
    """Full state key to new value; None deletes."""
    receipts: tuple[Receipt, ...]
    """One per transaction, in order."""
    events: tuple[Event, ...]
    """Of the block itself: deadlines, draws, settlement."""


@dataclass(frozen=True, slots=True)
class BuiltBlock:
    """A block body with its execution."""

    transactions: tuple[CheckedTransaction, ...]
    execution: Execution
    rejected: tuple[tuple[CheckedTransaction, Invalid], ...]
    """Candidates that this block may not include, and why. `nonce_too_high` may become valid."""


def execute_block(
    reader: StateReader, context: BlockContext, transactions: Sequence[CheckedTransaction]
) -> Execution:
    """Execute a whole block on the state of its parent.

    Raises Invalid where the block is invalid: `height_wrong`, `epoch_wrong`, `unknown_proposer`,
    `beacon_reveal_wrong`, `block_too_many_transactions`, `block_too_large`, and of each
    transaction `too_large`, `expired`, `expires_too_far`, `nonce_too_low`, `nonce_too_high`,
    `fee_too_low`, `funds_insufficient`, or, for an attestation without a fee, its action's codes.
    """
    params = context.params
    if len(transactions) > params.block_transactions_max:
        raise Invalid(
            "block_too_many_transactions", f"at most {params.block_transactions_max} are allowed"
        )
    if sum(len(transaction.raw) for transaction in transactions) > params.block_bytes_max:
        raise Invalid("block_too_large", f"at most {params.block_bytes_max} bytes are allowed")
    env, block_events = _begin_block(reader, context)
    receipts = [_include(env, transaction) for transaction in transactions]
    return _end_block(env, receipts, block_events)


def build_block(
    reader: StateReader, context: BlockContext, candidates: Iterable[CheckedTransaction]
) -> BuiltBlock:
    """Take candidates in their order until one would pass the block's limits; execute each once.

    Raises Invalid as `execute_block` does for the context alone.
    """
    params = context.params
    env, block_events = _begin_block(reader, context)
    selected: list[CheckedTransaction] = []
    receipts: list[Receipt] = []
    rejected: list[tuple[CheckedTransaction, Invalid]] = []
    size_bytes = 0
    for transaction in candidates:
        size_bytes += len(transaction.raw)
        # Stopping, rather than looking for a smaller one, keeps each sender's nonces in order.
        if size_bytes > params.block_bytes_max or len(selected) == params.block_transactions_max:
            break
        try:
            receipts.append(_include(env, transaction))
            selected.append(transaction)
        except Invalid as error:
            size_bytes -= len(transaction.raw)
            rejected.append((transaction, error))
    execution = _end_block(env, receipts, block_events)
    return BuiltBlock(tuple(selected), execution, tuple(rejected))


def _begin_block(
    reader: StateReader, context: BlockContext
) -> tuple[Environment, tuple[Event, ...]]:
    env = Environment(context, State(reader))
    chain = env.state.require(CHAIN)
    if context.height != chain.height + 1:
        raise Invalid("height_wrong", f"height {context.height} does not follow {chain.height}")
    if context.epoch != epoch_of(context.height, context.params):
        raise Invalid("epoch_wrong", f"height {context.height} is not in epoch {context.epoch}")
    apply_reveal(env)
    accrue_reward(env)
    advance_jobs(env)
    advance_tasks(env)
    return env, _take_events(env)


def _end_block(
    env: Environment, receipts: Sequence[Receipt], begun: tuple[Event, ...]
) -> Execution:
    collect_fees(env)
    if is_epoch_end(env.context.height, env.context.params):
        settle_epoch(env)
        forget_retired(env)
        turn_committees(env)
    check_supply(env)
    return Execution(env.state.writes(), tuple(receipts), begun + _take_events(env))


def _include(env: Environment, transaction: CheckedTransaction) -> Receipt:
    """Apply one transaction. Raises Invalid, with the state untouched, where it may not be here."""
    body, sender = transaction.body, transaction.sender
    take_fee_and_nonce(env, sender, _check_includable(env, transaction), body.fee)
    mark, code = env.state.savepoint(), SUCCESS
    try:
        _apply_action(env, transaction)
    except Invalid as error:
        env.state.rollback(mark)
        env.events.clear()
        code = error.code
    return Receipt(transaction.id, code, body.fee, _take_events(env))


def _check_includable(env: Environment, transaction: CheckedTransaction) -> Account:
    """The sender's account, which can pay. Raises Invalid as `execute_block`."""
    params, nonce = env.context.params, transaction.body.nonce
    check_form(params, env.context.height, transaction)
    account = account_of(env.state, transaction.sender)
    if nonce < account.nonce:
        raise Invalid("nonce_too_low", f"the next nonce is {account.nonce}, not {nonce}")
    if nonce > account.nonce:
        raise Invalid("nonce_too_high", f"the next nonce is {account.nonce}, not {nonce}")
    require_payable(env.state, params, transaction, account)
    return account


def _apply_action(env: Environment, transaction: CheckedTransaction) -> None:
    sender, id = transaction.sender, transaction.id
    match transaction.body.action:
        case Transfer() as action:
            apply_transfer(env, sender, action)
        case CommitUpdate() as action:
            commit_update(env, sender, action)
        case RevealUpdate() as action:
            reveal_update(env, sender, action)
        case AttestRound() as action:
            attest_round(env, sender, action)
        case SubmitReceipt() as action:
            submit_receipt(env, sender, action)
        case SubmitJob() as action:
            submit_job(env, sender, id, action)
        case SubmitTask() as action:
            submit_task(env, sender, id, action)
        case RegisterWorker() as action:
            register_worker(env, sender, action)
        case RetireWorker():
            retire_worker(env, sender)
        case SetBeaconAnchor() as action:
            set_beacon_anchor(env, sender, action)
        case ReportEvidence() as action:
            report_evidence(env, action)
        case other:
            assert_never(other)


def _take_events(env: Environment) -> tuple[Event, ...]:
    events = tuple(env.events)
    env.events.clear()
    return events
