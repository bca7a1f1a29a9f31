"""Compute jobs (DESIGN §9, "Jobs"): escrow, assignment by draw, signed receipt, payment.

A job waits until the next block's start, where the mix that its submitter could not know draws its
worker. A missed deadline draws again; after the last one the escrow goes back.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from p2p_aios.codec import cbor
from p2p_aios.codec.cid import is_cid
from p2p_aios.errors import Invalid
from p2p_aios.ledger.accounts import pay_in, pay_out
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import JOBS_OPEN_MAX, ComputeJob, JobIndex, JobStatus
from p2p_aios.ledger.schedule import with_due, without_due
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import JOB_INDEX, JOBS, WORKERS
from p2p_aios.params import Params
from p2p_aios.types.compute import (
    JobId,
    JobReceipt,
    SubmitJob,
    SubmitReceipt,
    input_digest,
)
from p2p_aios.types.event import JobRefunded, JobSettled, JobSubmitted
from p2p_aios.units import Address, Amount, Height

REASSIGNMENTS_MAX: Final = 2
"""Missed deadlines that draw another worker; the next one refunds."""
WAIT_BLOCKS_MAX: Final = 240
"""Blocks a job waits for a free worker before it is refunded."""


def check_order(params: Params, order: SubmitJob) -> None:
    """Raises Invalid: `window_too_long`, `cid_malformed`, `arguments_malformed`."""
    if order.window_blocks > params.window_blocks_max:
        raise Invalid("window_too_long", f"at most {params.window_blocks_max} blocks are allowed")
    if not all(is_cid(cid) for cid in order.inputs):
        raise Invalid("cid_malformed", "an input is not a raw or dag-cbor sha2-256 CIDv1")
    if order.arguments:
        try:
            cbor.decode(order.arguments)
        except Invalid as error:
            # Receipts hold this code: it must not depend on how the CBOR library looks for faults.
            raise Invalid("arguments_malformed", error.message) from None


def submit_job(env: Environment, sender: Address, id: JobId, order: SubmitJob) -> None:
    """Escrow the payment; the next block draws a worker.

    Raises Invalid: those of `check_order`, `too_many_jobs`, `funds_insufficient`.
    """
    state, height = env.state, env.context.height
    check_order(env.context.params, order)
    index = state.require(JOB_INDEX)
    if len(index.waiting) + len(index.assigned) >= JOBS_OPEN_MAX:
        raise Invalid("too_many_jobs", f"{JOBS_OPEN_MAX} jobs are open; try later")
    pay_in(state, sender, "escrow", order.payment)
    job = ComputeJob(
        id,
        sender,
        submitted=height,
        order=order,
        status=JobStatus.WAITING,
        nonce=0,
        worker=None,
        deadline=Height(height + WAIT_BLOCKS_MAX),
        escrow=order.payment,
        receipt=None,
        code=None,
    )
    await_worker(state, job)
    env.events.append(JobSubmitted(id, sender))


def await_worker(state: State, job: ComputeJob) -> None:
    """Put a WAITING job last in the queue."""
    state.put(JOBS, job.id, job)
    index = state.require(JOB_INDEX)
    waiting = with_due(index.waiting, job.id, job.deadline)
    state.put(JOB_INDEX, b"", JobIndex(waiting, without_due(index.assigned, job.id)))


def check_receipt(job: ComputeJob | None, sender: Address, receipt: JobReceipt) -> ComputeJob:
    """The job that `receipt` settles.

    Raises Invalid: `unknown_job`, `job_closed`, `receipt_late` (of an earlier assignment),
    `receipt_wrong_nonce`, `receipt_wrong_worker`, `receipt_wrong_input`, `cid_malformed`.
    """
    if job is None:
        raise Invalid("unknown_job", "no such job at this height")
    if job.status in (JobStatus.SETTLED, JobStatus.REFUNDED):
        raise Invalid("job_closed", "the job is already settled or refunded")
    if receipt.nonce < job.nonce:
        raise Invalid("receipt_late", "the deadline of that assignment has passed")
    if job.status is JobStatus.WAITING or receipt.nonce > job.nonce:
        raise Invalid("receipt_wrong_nonce", f"assignment {receipt.nonce} has not been made")
    if sender != job.worker:
        raise Invalid("receipt_wrong_worker", "the job is assigned to another worker")
    if receipt.input != input_digest(job.order.inputs, job.order.arguments):
        raise Invalid("receipt_wrong_input", "the input digest is not that of the job's inputs")
    if not is_cid(receipt.output):
        raise Invalid("cid_malformed", "the output is not a raw or dag-cbor sha2-256 CIDv1")
    return job


def submit_receipt(env: Environment, sender: Address, action: SubmitReceipt) -> None:
    """Pay the assigned worker. Raises Invalid as `check_receipt`."""
    state, receipt = env.state, action.receipt
    job = check_receipt(state.get(JOBS, receipt.job), sender, receipt)
    free_worker(state, sender)
    pay_out(state, "escrow", sender, job.escrow)
    _close(state, replace(job, status=JobStatus.SETTLED, receipt=receipt))
    env.events.append(JobSettled(job.id, sender, receipt.output, job.escrow))


def refund_job(env: Environment, job: ComputeJob, code: str) -> None:
    """Nobody delivered: the escrow goes back to the submitter."""
    pay_out(env.state, "escrow", job.submitter, job.escrow)
    _close(env.state, replace(job, status=JobStatus.REFUNDED, code=code))
    env.events.append(JobRefunded(job.id, code))


def free_worker(state: State, address: Address) -> None:
    """The worker holds one job less."""
    worker = state.require(WORKERS, address)
    state.put(WORKERS, address, replace(worker, held=worker.held - 1))


def open_jobs(state: State) -> Sequence[ComputeJob]:
    """Jobs that wait, then assigned ones by deadline."""
    index = state.require(JOB_INDEX)
    return [state.require(JOBS, due.id) for due in (*index.waiting, *index.assigned)]


def _close(state: State, job: ComputeJob) -> None:
    index = state.require(JOB_INDEX)
    remaining = JobIndex(without_due(index.waiting, job.id), without_due(index.assigned, job.id))
    state.put(JOB_INDEX, b"", remaining)
    state.put(JOBS, job.id, replace(job, escrow=Amount(0)))
