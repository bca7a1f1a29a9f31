"""Compute jobs on chain: workers, jobs, signed receipts (DESIGN §9, "Jobs")."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated

from p2p_aios.codec.limits import Range, Size
from p2p_aios.crypto.hashing import sha256
from p2p_aios.types.learning import ModelSpec, Rule, TrainingPlan
from p2p_aios.units import Address, Amount, Cid, Hash

JobId = Hash
"""Id of the transaction that submitted the job."""


class JobKind(IntEnum):
    """Allow-listed kinds; arguments are data only."""

    TRAIN = 1
    """One local training pass from a base model on the worker's own data; yields an update."""
    EVALUATE = 2
    """Exact score of a model on a public shard."""
    AGGREGATE = 3
    """Aggregate of a base model and updates, eq. (7)."""


Kinds = Annotated[tuple[JobKind, ...], Size(1, 8)]


@dataclass(frozen=True, slots=True)
class RegisterWorker:
    """Offer computing power: the sender becomes a contributor (or changes its offer)."""

    home: Address
    """Validator address of the node whose gateway reaches this worker."""
    capacity: Annotated[int, Range(1, 64)]
    """Jobs held at once."""
    kinds: Kinds
    """Ascending, without repetition."""


@dataclass(frozen=True, slots=True)
class RetireWorker:
    """Withdraw the offer: no new seats or jobs; held ones stay due."""


@dataclass(frozen=True, slots=True)
class SubmitJob:
    """Ask for one job; `payment` is escrowed until its receipt."""

    kind: JobKind
    inputs: Annotated[tuple[Cid, ...], Size(0, 64)]
    """Blobs the job reads, in the order its kind names."""
    arguments: Annotated[bytes, Size(0, 4096)]
    """Canonical CBOR, by kind."""
    payment: Amount
    window_blocks: Annotated[int, Range(1, 2**32)]
    """Blocks from assignment to the receipt's deadline."""


@dataclass(frozen=True, slots=True)
class JobReceipt:
    """A worker's signed statement of what it ran; bound to one assignment by job and nonce.

    The signature is that of the transaction that carries it.
    """

    job: JobId
    nonce: Annotated[int, Range(0, 2**32)]
    """Number of this assignment of the job, from 0: a late receipt of an earlier one is refused."""
    code: Hash
    """Digest of the program that ran."""
    input: Hash
    """`input_digest` of the job."""
    environment: Hash
    """Digest of interpreter, library versions and machine kind."""
    output: Cid
    units: Annotated[int, Range(0, 2**63)]
    """Work done, in the kind's unit (rows processed)."""


@dataclass(frozen=True, slots=True)
class SubmitReceipt:
    """Settle the sender's assignment and be paid."""

    receipt: JobReceipt


@dataclass(frozen=True, slots=True)
class TrainArguments:
    """Arguments of TRAIN; inputs: (base model,), output: an update blob, units: rows seen."""

    model: ModelSpec
    plan: TrainingPlan


@dataclass(frozen=True, slots=True)
class EvaluateArguments:
    """Arguments of EVALUATE; inputs: (model, shard), output: an encoded Score, units: rows."""

    model: ModelSpec


@dataclass(frozen=True, slots=True)
class AggregateArguments:
    """Arguments of AGGREGATE; inputs: (base, *updates), output: a model blob, units: updates."""

    model: ModelSpec
    rule: Rule
    update_limit: Annotated[int, Range(1, 2**31 - 1)]


def input_digest(inputs: Sequence[Cid], arguments: bytes) -> Hash:
    """sha256 of the concatenated input CIDs and the arguments."""
    return sha256(b"".join(inputs) + arguments)
