"""Events: what a block did, for those who follow it. Typed, so clients match on kinds."""

from dataclasses import dataclass
from typing import Annotated

from p2p_aios.codec.limits import Range, Size, Variants
from p2p_aios.types.compute import JobId
from p2p_aios.types.learning import Round, Score, Seats, TaskId
from p2p_aios.units import Address, Amount, Cid, Epoch, Height

Code = Annotated[str, Size(1, 64)]


@dataclass(frozen=True, slots=True)
class Transferred:
    sender: Address
    recipient: Address
    amount: Amount


@dataclass(frozen=True, slots=True)
class EpochSettled:
    """The epoch's pool was paid out (DESIGN §15)."""

    epoch: Epoch
    pool: Amount
    paid_validators: Amount
    paid_contributors: Amount
    paid_treasury: Amount
    returned: Amount
    """Unpaid part and rounding remainders, back in the reserve."""


@dataclass(frozen=True, slots=True)
class RewardPaid:
    """One participant's part of an epoch's settlement."""

    epoch: Epoch
    recipient: Address
    amount: Amount


@dataclass(frozen=True, slots=True)
class EvidenceRecorded:
    validator: Address
    epoch: Epoch


@dataclass(frozen=True, slots=True)
class WorkerRegistered:
    worker: Address
    home: Address


@dataclass(frozen=True, slots=True)
class WorkerRetired:
    worker: Address


@dataclass(frozen=True, slots=True)
class JobSubmitted:
    job: JobId
    submitter: Address


@dataclass(frozen=True, slots=True)
class JobAssigned:
    job: JobId
    nonce: Annotated[int, Range(0, 2**32)]
    worker: Address
    deadline: Height


@dataclass(frozen=True, slots=True)
class JobSettled:
    job: JobId
    worker: Address
    output: Cid
    paid: Amount


@dataclass(frozen=True, slots=True)
class JobRefunded:
    """Nobody delivered: the escrow went back."""

    job: JobId
    code: Code


@dataclass(frozen=True, slots=True)
class TaskOpened:
    task: TaskId
    submitter: Address


@dataclass(frozen=True, slots=True)
class RoundOpened:
    """COMMIT begins: these seats may train from `base`."""

    task: TaskId
    round: Round
    base: Cid
    seats: Seats
    deadline: Height


@dataclass(frozen=True, slots=True)
class RevealOpened:
    """COMMIT closed: these seats committed and must now reveal."""

    task: TaskId
    round: Round
    seats: Seats
    deadline: Height


@dataclass(frozen=True, slots=True)
class RevealedUpdate:
    worker: Address
    update: Cid


@dataclass(frozen=True, slots=True)
class AttestOpened:
    """REVEAL closed: the panel recomputes from these updates."""

    task: TaskId
    round: Round
    base: Cid
    updates: Annotated[tuple[RevealedUpdate, ...], Size(0, 256)]
    """In seat order."""
    deadline: Height


@dataclass(frozen=True, slots=True)
class UpdateRefused:
    """A seat's update was not accepted; its bond is forfeit."""

    task: TaskId
    round: Round
    worker: Address
    code: Code
    """`update_unrevealed`, or `update_` and the verdict's name."""


@dataclass(frozen=True, slots=True)
class AttestationRefused:
    """A panel member attested other than the settled result."""

    task: TaskId
    round: Round
    validator: Address
    code: Code
    """`attestation_wrong`."""


@dataclass(frozen=True, slots=True)
class RoundSettled:
    task: TaskId
    round: Round
    aggregate: Cid
    score: Score
    paid: Amount
    """To each accepted contributor."""
    contributors: Seats
    """Those accepted."""


@dataclass(frozen=True, slots=True)
class RoundVoided:
    """The round produced no model; accepted and waiting bonds went back."""

    task: TaskId
    round: Round
    code: Code
    """`too_few_updates`, `no_quorum`, or `too_few_workers` (none opened; the task ends)."""


@dataclass(frozen=True, slots=True)
class TaskFinished:
    task: TaskId
    model: Cid
    refunded: Amount


Event = Annotated[
    Transferred
    | EpochSettled
    | RewardPaid
    | EvidenceRecorded
    | WorkerRegistered
    | WorkerRetired
    | JobSubmitted
    | JobAssigned
    | JobSettled
    | JobRefunded
    | TaskOpened
    | RoundOpened
    | RevealOpened
    | AttestOpened
    | UpdateRefused
    | AttestationRefused
    | RoundSettled
    | RoundVoided
    | TaskFinished,
    Variants(
        {
            1: Transferred,
            2: EpochSettled,
            3: RewardPaid,
            4: EvidenceRecorded,
            16: WorkerRegistered,
            17: WorkerRetired,
            18: JobSubmitted,
            19: JobAssigned,
            20: JobSettled,
            21: JobRefunded,
            32: TaskOpened,
            33: RoundOpened,
            34: RevealOpened,
            35: AttestOpened,
            36: UpdateRefused,
            37: AttestationRefused,
            38: RoundSettled,
            39: RoundVoided,
            40: TaskFinished,
        }
    ),
]

EVENTS_MAX = 65_536
Events = Annotated[tuple[Event, ...], Size(0, EVENTS_MAX)]
