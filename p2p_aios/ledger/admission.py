"""Whether a transaction is worth keeping: asked by RPC and mempool against the latest state.

`Invalid` says that it cannot be included, or would certainly fail; `Unavailable` that it is too
early: the chain may still come to where it counts. A node that lags sees early what others do not.
"""

from typing import Final

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.accounts import account_of, check_fee, check_form, check_funds
from p2p_aios.ledger.attestation import check_attestation
from p2p_aios.ledger.beacon import check_anchor
from p2p_aios.ledger.environment import epoch_of
from p2p_aios.ledger.jobs import check_order, check_receipt
from p2p_aios.ledger.records import Account, JobStatus, RoundPhase
from p2p_aios.ledger.rounds import check_commit, check_reveal
from p2p_aios.ledger.state import State, StateReader
from p2p_aios.ledger.tables import CHAIN, JOBS, ROUNDS, TASKS, VALIDATORS, WORKERS, round_key
from p2p_aios.ledger.tasks import check_task
from p2p_aios.ledger.waivers import require_payable
from p2p_aios.ledger.workers import check_offer
from p2p_aios.params import Params
from p2p_aios.types.compute import RegisterWorker, SubmitJob, SubmitReceipt
from p2p_aios.types.learning import AttestRound, CommitUpdate, RevealUpdate, SubmitTask
from p2p_aios.types.transaction import (
    Action,
    CheckedTransaction,
    SetBeaconAnchor,
    Transfer,
)
from p2p_aios.units import Address, Height

NONCES_AHEAD_MAX: Final = 64
"""Transactions of one sender that may wait for earlier ones."""


def check_admission(
    reader: StateReader, params: Params, height: Height, transaction: CheckedTransaction
) -> Account:
    """Check `transaction` for the block after `height`, whose state `reader` reads; the sender's
    account there.

    Raises Invalid: `too_large`, `expired`, `expires_too_far`, `nonce_too_low`, `fee_too_low`,
    `funds_insufficient`, or the code with which its action would certainly fail.
    Raises Unavailable: `nonce_too_far`, `unknown_task`, `unknown_job`, `round_not_yet`.
    """
    state, body = State(reader), transaction.body
    check_form(params, Height(height + 1), transaction)
    account = account_of(state, transaction.sender)
    if body.nonce < account.nonce:
        raise Invalid("nonce_too_low", f"the next nonce is {account.nonce}, not {body.nonce}")
    if body.nonce > account.nonce + NONCES_AHEAD_MAX:
        raise Unavailable(
            "nonce_too_far", f"the next nonce is {account.nonce}; {body.nonce} is too far ahead"
        )
    if not isinstance(body.action, AttestRound | SetBeaconAnchor):
        # Keys cost nothing: who cannot pay is refused before anything large is read.
        check_fee(params, transaction, account)
    _check_action(state, params, transaction)
    require_payable(state, params, transaction, account)
    # Money that is still on its way does not count: without this, whoever spends what they do not
    # have would learn it from a receipt, after paying the fee.
    check_funds(account, body.fee + _amount_spent(state, body.action))
    return account


def _check_action(state: State, params: Params, transaction: CheckedTransaction) -> None:
    sender = transaction.sender
    match transaction.body.action:
        case CommitUpdate() as action:
            _require_reached(state, sender, action, RoundPhase.COMMIT)
            check_commit(state, sender, action)
        case RevealUpdate() as action:
            _require_reached(state, sender, action, RoundPhase.REVEAL)
            check_reveal(state, transaction.body.chain_id, sender, action)
        case AttestRound() as action:
            _require_reached(state, sender, action, RoundPhase.ATTEST)
            check_attestation(state, sender, action)
        case SubmitReceipt() as action:
            _check_receipt(state, transaction, action)
        case SubmitJob() as action:
            check_order(params, action)
        case SubmitTask() as action:
            check_task(params, action)
        case RegisterWorker() as action:
            check_offer(state, sender, action)
        case SetBeaconAnchor():
            check_anchor(state, sender, epoch_of(state.require(CHAIN).height, params))
        case _:
            pass


def _amount_spent(state: State, action: Action) -> int:
    """What leaves the sender's account beside the fee."""
    match action:
        case Transfer(amount=amount):
            return amount
        case SubmitJob(payment=payment):
            return payment
        case SubmitTask(budget=budget):
            return budget
        case CommitUpdate(task=task):
            return state.require(TASKS, task).spec.bond
        case _:
            return 0


def _require_reached(
    state: State,
    sender: Address,
    action: CommitUpdate | RevealUpdate | AttestRound,
    phase: RoundPhase,
) -> None:
    """The round is there, for a sender that may have a part in it.

    Raises Unavailable: `unknown_task`, `round_not_yet`; Invalid: `unknown_round`, `not_seated`,
    `not_on_panel`.
    """
    task = state.get(TASKS, action.task)
    if task is None:
        raise Unavailable("unknown_task", "no such learning task at this height")
    if action.round >= task.spec.rounds:
        raise Invalid("unknown_round", f"the task has only {task.spec.rounds} rounds")
    # A round takes half a millisecond to read, which a batch of strangers' must not cost each.
    if phase is RoundPhase.ATTEST and state.get(VALIDATORS, sender) is None:
        raise Invalid("not_on_panel", "the sender is no validator")
    if phase is not RoundPhase.ATTEST and state.get(WORKERS, sender) is None:
        raise Invalid("not_seated", "the sender is no worker")
    learning_round = state.get(ROUNDS, round_key(action.task, action.round))
    if learning_round is None or learning_round.phase < phase:
        raise Unavailable(
            "round_not_yet", f"round {action.round} has not reached {phase.name} here"
        )


def _check_receipt(state: State, transaction: CheckedTransaction, action: SubmitReceipt) -> None:
    if state.get(WORKERS, transaction.sender) is None:
        raise Invalid("receipt_wrong_worker", "the sender is no worker")
    job, receipt = state.get(JOBS, action.receipt.job), action.receipt
    if job is None:
        raise Unavailable("unknown_job", "no such job at this height")
    is_open = job.status in (JobStatus.WAITING, JobStatus.ASSIGNED)
    if is_open and (receipt.nonce > job.nonce or job.status is JobStatus.WAITING):
        if receipt.nonce < job.nonce:
            raise Invalid("receipt_late", "the deadline of that assignment has passed")
        raise Unavailable("assignment_not_yet", f"assignment {receipt.nonce} is not made here")
    check_receipt(job, transaction.sender, receipt)
