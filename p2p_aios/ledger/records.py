"""What the state holds: one frozen record per key.

Every amount that is not on an account sits in exactly one record's `escrow` or `bonds`, or in one
purse of `Supply`, so the supply of §15 can be checked as a running total and by a full scan.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

from p2p_aios.codec.limits import Range, Size
from p2p_aios.types.committee import PeerIdBytes
from p2p_aios.types.compute import JobId, JobKind, JobReceipt, SubmitJob
from p2p_aios.types.event import Code
from p2p_aios.types.learning import AttestRound, Round, SubmitTask, TaskId, Verdict
from p2p_aios.types.vote import SEATS_MAX
from p2p_aios.units import Address, Amount, Cid, Epoch, Hash, Height, PublicKey

WORKERS_MAX: Final = 1024
"""Most registered workers, the retired ones of the open epoch included."""
JOBS_OPEN_MAX: Final = 1024
"""Most jobs that wait or are assigned."""
TASKS_OPEN_MAX: Final = 256
"""Most learning tasks that are not finished."""
TASKS_RECENT_MAX: Final = 64
"""Finished tasks that `list_tasks` still names."""
FAULT_EPOCHS_MAX: Final = 1024
"""Most epochs a validator's punished faults are remembered for; bounds `evidence_epochs`."""
SUPPLY_PER_SATOSHI: Final = 1000
"""Eq. (10): 1000 AIOS per dormant bitcoin; both count in units of 10^-8."""

Count = Annotated[int, Range(0, 2**64 - 1)]


@dataclass(frozen=True, slots=True)
class Account:
    balance: Amount
    nonce: Count
    """Transactions this account has had included."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Where the chain stands."""

    height: Height
    mix: Hash
    """Beacon mix after this height's reveal."""


@dataclass(frozen=True, slots=True)
class Supply:
    """Where every unit is (§15): the purses below sum to the target plus the burn debt."""

    dormant_sat: Annotated[int, Range(0, 21 * 10**14)]
    reserve: Amount
    """Minted, not yet issued."""
    burn_debt: Amount
    """Burns still due because the reserve was too small."""
    accounts: Amount
    """Sum of all balances."""
    escrow: Amount
    """Sum of what jobs and tasks hold."""
    bonds: Amount
    """Sum of what rounds hold."""
    accrued: Amount
    """Block rewards of the open epoch."""
    fees: Amount
    """Fees of the open epoch."""
    treasury: Amount
    reward: Amount
    """R: what each block of this era moves from the reserve to `accrued`."""

    @property
    def target(self) -> int:
        """S = 1000 × DormantBTC, eq. (10)."""
        return SUPPLY_PER_SATOSHI * self.dormant_sat

    @property
    def circulating(self) -> int:
        """All that left the reserve."""
        return self.accounts + self.escrow + self.bonds + self.accrued + self.fees + self.treasury

    def is_balanced(self) -> bool:
        """Circulating + reserve − burn_debt = 1000 × dormant_sat."""
        return self.circulating + self.reserve - self.burn_debt == self.target


@dataclass(frozen=True, slots=True)
class Validator:
    address: Address
    """Of the validator key."""
    owner: Address
    """Account that receives its rewards."""
    public_key: PublicKey
    peer_id: PeerIdBytes
    anchor: Hash
    """Last element of the beacon chain in use."""
    head: Hash
    """Last revealed element, or the anchor; the next reveal is its sha256 preimage."""
    reveals: Count
    """Elements revealed since the anchor."""
    next_anchor: Hash | None
    """Registered successor of the chain in use."""
    next_anchor_epoch: Epoch
    """First epoch in which `next_anchor` counts; 0 where there is none."""
    proposed: Count
    """Blocks of the open epoch it proposed."""
    faults: Count
    """Punished equivocations."""
    fault_epochs: Annotated[tuple[Epoch, ...], Size(0, FAULT_EPOCHS_MAX)]
    """Epochs of those that evidence could still repeat, ascending."""
    wrong_attestations: Count
    """Attestations that differed from the settled result."""


@dataclass(frozen=True, slots=True)
class ValidatorIndex:
    addresses: Annotated[tuple[Address, ...], Size(1, SEATS_MAX)]
    """All validators, ascending."""


Offer = Annotated[tuple[JobKind, ...], Size(0, 8)]


@dataclass(frozen=True, slots=True)
class Worker:
    address: Address
    home: Address
    """Validator whose gateway reaches it."""
    capacity: Annotated[int, Range(1, 64)]
    """Jobs held at once."""
    kinds: Offer
    """Ascending; empty once retired."""
    held: Count
    """Jobs assigned and not yet settled."""
    seats: Count
    """Open rounds it is seated in."""
    accepted: Count
    """Updates accepted in the open epoch."""


@dataclass(frozen=True, slots=True)
class WorkerIndex:
    addresses: Annotated[tuple[Address, ...], Size(0, WORKERS_MAX)]
    """All workers, ascending."""


@dataclass(frozen=True, slots=True)
class Due:
    """Something that a block beyond `height` must look at."""

    height: Height
    id: Hash


class JobStatus(IntEnum):
    WAITING = 1
    """For a worker."""
    ASSIGNED = 2
    SETTLED = 3
    REFUNDED = 4


@dataclass(frozen=True, slots=True)
class ComputeJob:
    id: JobId
    submitter: Address
    submitted: Height
    order: SubmitJob
    status: JobStatus
    nonce: Annotated[int, Range(0, 2**32)]
    """Number of the current (or next) assignment, from 0."""
    worker: Address | None
    """Of the current or last assignment."""
    deadline: Height
    """Last height that may include the receipt; while waiting, last height to find a worker."""
    escrow: Amount
    receipt: JobReceipt | None
    """Once settled."""
    code: Code | None
    """Why it was refunded."""


@dataclass(frozen=True, slots=True)
class JobIndex:
    waiting: Annotated[tuple[Due, ...], Size(0, JOBS_OPEN_MAX)]
    """In the order they began to wait."""
    assigned: Annotated[tuple[Due, ...], Size(0, JOBS_OPEN_MAX)]
    """Ascending by deadline."""


class TaskStatus(IntEnum):
    WAITING = 1
    """For enough workers to open its next round."""
    RUNNING = 2
    FINISHED = 3


@dataclass(frozen=True, slots=True)
class LearningTask:
    id: TaskId
    submitter: Address
    submitted: Height
    spec: SubmitTask
    status: TaskStatus
    round: Round
    """Number of the running or next round; of the last one once finished."""
    model: Cid
    """Latest aggregate; the spec's base before the first."""
    waiting_until: Height
    """While WAITING: last height to find enough workers."""
    escrow: Amount
    """Budget not yet paid out."""


@dataclass(frozen=True, slots=True)
class TaskIndex:
    open: Annotated[tuple[Due, ...], Size(0, TASKS_OPEN_MAX)]
    """Ascending by the height after which something is due."""
    recent: Annotated[tuple[TaskId, ...], Size(0, TASKS_RECENT_MAX)]
    """Finished last, oldest first."""


class RoundPhase(IntEnum):
    COMMIT = 1
    REVEAL = 2
    ATTEST = 3
    SETTLED = 4
    VOIDED = 5


@dataclass(frozen=True, slots=True)
class RoundSeat:
    worker: Address
    commitment: Hash | None
    update: Cid | None
    """Once revealed."""
    verdict: Verdict | None
    """Once settled."""


@dataclass(frozen=True, slots=True)
class Attestation:
    validator: Address
    statement: AttestRound


@dataclass(frozen=True, slots=True)
class LearningRound:
    task: TaskId
    number: Round
    phase: RoundPhase
    base: Cid
    """Model the round trains from."""
    opened: Height
    deadline: Height
    """Last height of the phase; once closed, the height that closed it."""
    seats: Annotated[tuple[RoundSeat, ...], Size(0, 256)]
    """In the order drawn."""
    bonds: Amount
    """Held for the seats that committed and are not yet judged."""
    panel: Epoch | None
    """Epoch whose committee attests; None before ATTEST."""
    attestations: Annotated[tuple[Attestation, ...], Size(0, SEATS_MAX)]
    """Of the open ATTEST phase; emptied when the round closes."""
    heard: Annotated[tuple[Address, ...], Size(0, SEATS_MAX)]
    """Panel members that attested, late ones included."""
    settled: AttestRound | None
    """What more than 2/3 of the panel's weight attested."""
    paid: Amount
    """To each accepted contributor."""
    code: Code | None
    """Why it was voided."""

    @property
    def revealed(self) -> tuple[RoundSeat, ...]:
        """The seats whose updates the panel judges, in seat order."""
        return tuple(seat for seat in self.seats if seat.update is not None)
