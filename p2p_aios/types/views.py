"""What a node tells its clients: answers of the RPC, read by the SDK, the CLI and the explorer.

Views are projections for people and programs, no part of consensus; a node fills them from its
finalized state and its own doings. Their JSON is that of `codec.schema`.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Final

from p2p_aios.codec.limits import Range, Size
from p2p_aios.types.block import BLOCK_TRANSACTIONS_MAX, Header
from p2p_aios.types.committee import PeerIdBytes
from p2p_aios.types.compute import JobId, JobKind, JobReceipt, SubmitJob
from p2p_aios.types.event import Code, Event
from p2p_aios.types.learning import Round, Score, SubmitTask, TaskId, Verdict
from p2p_aios.types.receipt import BlockOutcome, Receipt
from p2p_aios.types.transaction import Transaction
from p2p_aios.types.vote import SEATS_MAX, Certificate, Seat
from p2p_aios.units import (
    Address,
    Amount,
    Cid,
    Epoch,
    Hash,
    Height,
    Millis,
    PublicKey,
    View,
)

PAGE_MAX: Final = 100
"""Most entries in one answer of a listing; `after` or `first` asks for the next."""
LISTING_MAX: Final = 4096
"""Most entries of a listing that is short by nature: peers, workers, validators."""

Text = Annotated[str, Size(0, 256)]
Count = Annotated[int, Range(0, 2**63)]


class GatewayState(IntEnum):
    """Where a node's compute gateway stands."""

    ABSENT = 0
    """The node runs without one."""
    STARTING = 1
    READY = 2
    DOWN = 3
    """It died; the node starts it again."""


@dataclass(frozen=True, slots=True)
class NodeStatus:
    version: Text
    network: Text
    chain_id: Hash
    validator: Address | None
    """Of this node's validator key; None for an observer."""
    height: Height
    """Last finalized block."""
    block: Hash
    timestamp_ms: Millis
    """Of that block."""
    epoch: Epoch
    """This and the next: where consensus is now."""
    view: View
    is_syncing: bool
    """Whether the node knows that it lags behind its peers."""
    peers: Count
    """Connections."""
    waiting: Count
    """Transactions in the mempool."""
    gateway: GatewayState
    uptime_ms: Millis


@dataclass(frozen=True, slots=True)
class PeerView:
    peer_id: Text
    """Base58 text form."""
    address: Text
    """Multiaddress of the connection's other end."""
    validator: Address | None
    """Whose peer id this is in the current committee."""
    is_inbound: bool
    height: Height | None
    """Last finalized block that it told of."""
    round_trip_ms: Millis | None
    """Of the last ping."""


@dataclass(frozen=True, slots=True)
class BlockSummary:
    """A finalized block without its body."""

    hash: Hash
    header: Header
    transactions: Count
    bytes: Count
    """Sum of the encoded transactions."""


BlockSummaries = Annotated[tuple[BlockSummary, ...], Size(0, PAGE_MAX)]


@dataclass(frozen=True, slots=True)
class BlockView:
    hash: Hash
    header: Header
    transaction_ids: Annotated[tuple[Hash, ...], Size(0, BLOCK_TRANSACTIONS_MAX)]
    transactions: Annotated[tuple[Transaction, ...], Size(0, BLOCK_TRANSACTIONS_MAX)] | None
    """Decoded, where asked for."""
    certificate: Certificate | None
    """None where a descendant's certificate finalized it."""
    outcome: BlockOutcome | None
    """Receipts and events, where asked for."""


class TransactionState(IntEnum):
    PENDING = 1
    """In this node's mempool, or in a block that is not final yet."""
    FINALIZED = 2


@dataclass(frozen=True, slots=True)
class TransactionStatus:
    id: Hash
    state: TransactionState
    transaction: Transaction
    height: Height | None
    """Of the block that holds it, once finalized."""
    receipt: Receipt | None


@dataclass(frozen=True, slots=True)
class AccountView:
    address: Address
    balance: Amount
    nonce: Count
    """Transactions of this account that are final."""
    next_nonce: Count
    """What the next transaction must carry: `nonce` and those waiting in this node's mempool."""
    height: Height
    """Last finalized block, as of which this was read."""


@dataclass(frozen=True, slots=True)
class ValidatorView:
    address: Address
    owner: Address
    """Account that receives its rewards."""
    public_key: PublicKey
    peer_id: PeerIdBytes
    seat: Seat | None
    """In the current committee."""
    weight: Count
    """Voting weight; 0 without a seat."""
    blocks: Count
    """Proposed in this epoch."""
    wrong_attestations: Count
    """Attestations that differed from the settled result, ever."""


Validators = Annotated[tuple[ValidatorView, ...], Size(0, LISTING_MAX)]
Peers = Annotated[tuple[PeerView, ...], Size(0, LISTING_MAX)]


@dataclass(frozen=True, slots=True)
class SupplyView:
    """Where every unit is (DESIGN §15): circulating + reserve - burn_debt = target."""

    height: Height
    dormant_sat: Count
    target: Amount
    """1000 × dormant satoshis, eq. (10)."""
    circulating: Amount
    """Balances, escrows, accrued rewards and fees, and the treasury."""
    reserve: Amount
    burn_debt: Amount
    treasury: Amount
    """Part of circulating."""
    escrowed: Amount
    """Part of circulating: budgets, bonds and payments held by tasks and jobs."""
    block_reward: Amount
    pool: Amount
    """Accrued rewards and fees of the running epoch."""
    is_balanced: bool
    """Whether the equation above holds."""


@dataclass(frozen=True, slots=True)
class WorkerView:
    address: Address
    home: Address
    """Validator whose gateway reaches it."""
    capacity: Count
    held: Count
    """Jobs it holds now."""
    kinds: Annotated[tuple[JobKind, ...], Size(0, 8)]
    """None once retired."""
    is_retired: bool


Workers = Annotated[tuple[WorkerView, ...], Size(0, LISTING_MAX)]


class JobState(IntEnum):
    QUEUED = 1
    """No worker has capacity yet."""
    ASSIGNED = 2
    SETTLED = 3
    REFUNDED = 4
    """Nobody delivered; the escrow went back."""


@dataclass(frozen=True, slots=True)
class JobView:
    id: JobId
    submitter: Address
    specification: SubmitJob
    state: JobState
    nonce: Count
    """Number of the running or last assignment."""
    worker: Address | None
    deadline: Height | None
    """Last height that takes the receipt."""
    receipt: JobReceipt | None
    code: Code | None
    """Why it was refunded: `no_worker`, `deadline_missed`."""


Jobs = Annotated[tuple[JobView, ...], Size(0, PAGE_MAX)]


class Phase(IntEnum):
    """Where a round stands."""

    OPEN = 1
    """Waiting for workers to seat."""
    COMMIT = 2
    REVEAL = 3
    ATTEST = 4
    SETTLED = 5
    VOIDED = 6
    """It produced no model; accepted and waiting bonds went back."""


@dataclass(frozen=True, slots=True)
class TaskView:
    id: TaskId
    submitter: Address
    specification: SubmitTask
    round: Round
    """The running round, or the last one."""
    phase: Phase
    is_finished: bool
    model: Cid
    """Parameters after the last settled round; the task's base before it."""
    score: Score | None
    """Of that model; None before the first settled round."""
    remaining: Amount
    """Of the budget, still escrowed."""


Tasks = Annotated[tuple[TaskView, ...], Size(0, PAGE_MAX)]


@dataclass(frozen=True, slots=True)
class SeatView:
    worker: Address
    has_committed: bool
    update: Cid | None
    """Once revealed."""
    verdict: Verdict | None
    """Once settled."""


@dataclass(frozen=True, slots=True)
class RoundView:
    task: TaskId
    round: Round
    phase: Phase
    base: Cid
    seats: Annotated[tuple[SeatView, ...], Size(0, 256)]
    """In seat order."""
    deadline: Height | None
    """End of the running phase."""
    attested: Annotated[tuple[Address, ...], Size(0, SEATS_MAX)]
    """Panel members whose attestation is on chain."""
    aggregate: Cid | None
    score: Score | None
    paid: Amount
    """To each accepted contributor."""
    code: Code | None
    """Why the round was voided."""
    opened: Height
    closed: Height | None
    """Block that settled or voided it."""


Rounds = Annotated[tuple[RoundView, ...], Size(0, PAGE_MAX)]


@dataclass(frozen=True, slots=True)
class EventNotice:
    """An event of a finalized block, with where it came from."""

    height: Height
    block: Hash
    timestamp_ms: Millis
    transaction: Hash | None
    """None for what the block itself did."""
    event: Event


@dataclass(frozen=True, slots=True)
class ReceiptNotice:
    """What became of a transaction of a finalized block."""

    height: Height
    block: Hash
    timestamp_ms: Millis
    index: Count
    """Of the transaction in the block."""
    sender: Address
    receipt: Receipt


@dataclass(frozen=True, slots=True)
class BlobView:
    cid: Cid
    bytes: Count
