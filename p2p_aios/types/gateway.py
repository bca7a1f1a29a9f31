"""Frames between a node and its compute gateway, and between the gateway and contributor agents.

A frame is a big-endian u32 length and that many bytes. On the gateway's pipes each holds a
canonical CBOR value: node → gateway `Call`, back come `Up`, `Answer` or `Failure`. On an agent's
Unix socket a CBOR frame (`AgentCall`, `AgentReply`) is followed by as many raw blob frames as it
announces. Everything is data: no frame ever holds code.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.frames import check_length
from p2p_aios.codec.limits import Range, Size, Variants
from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.types.compute import JobId, JobKind, Kinds
from p2p_aios.types.learning import (
    ModelSpec,
    Round,
    Score,
    SubmitTask,
    TaskId,
    TrainingPlan,
    Verdict,
)
from p2p_aios.types.transaction import RawTransaction
from p2p_aios.units import Address, Amount, Cid, Hash, Height, Millis

BLOB_BYTES_MAX: Final = 64 << 20
"""Largest blob in a frame."""
FRAME_BYTES_MAX: Final = BLOB_BYTES_MAX + (128 << 10)
"""Largest frame: a blob, a transaction and their surroundings."""
MESSAGE_CHARACTERS_MAX: Final = 512
BLOBS_PER_CALL_MAX: Final = 300

Blob = Annotated[bytes, Size(0, BLOB_BYTES_MAX)]
CallId = Annotated[int, Range(0, 2**64 - 1)]


@dataclass(frozen=True, slots=True)
class Terms:
    """What the node adds to an action so that a contributor's agent can sign its transaction."""

    chain_id: Hash
    nonce: Annotated[int, Range(0, 2**64 - 1)]
    """Next nonce of the contributor's account."""
    fee: Amount
    expires: Height


@dataclass(frozen=True, slots=True)
class Ping:
    """Is the gateway there?"""


@dataclass(frozen=True, slots=True)
class StoreBlob:
    """Put a blob into the cluster's object store, for calls that name it by CID."""

    cid: Cid
    data: Blob


@dataclass(frozen=True, slots=True)
class ListContributors:
    """Which contributors' agents answer in this cluster?"""


@dataclass(frozen=True, slots=True)
class TrainRound:
    """Train from `base` on the contributor's data; yields its signed CommitUpdate, no output."""

    worker: Address
    terms: Terms
    task: TaskId
    round: Round
    model: ModelSpec
    plan: TrainingPlan
    update_limit: Annotated[int, Range(1, 2**31 - 1)]
    base: Cid


@dataclass(frozen=True, slots=True)
class RevealRound:
    """Open an earlier commitment; yields the signed RevealUpdate and the update blob."""

    worker: Address
    terms: Terms
    task: TaskId
    round: Round
    base: Cid


@dataclass(frozen=True, slots=True)
class RunJob:
    """Run one assigned job; yields the signed SubmitReceipt and the output blob."""

    worker: Address
    terms: Terms
    job: JobId
    assignment: Annotated[int, Range(0, 2**32)]
    """`JobReceipt.nonce`."""
    kind: JobKind
    inputs: Annotated[tuple[Cid, ...], Size(0, 64)]
    arguments: Annotated[bytes, Size(0, 4096)]


@dataclass(frozen=True, slots=True)
class JudgeRound:
    """Recompute a round for this panel member, in a process of its own."""

    task: SubmitTask
    base: Cid
    updates: Annotated[tuple[Cid | None, ...], Size(0, 256)]
    """In seat order; None where nobody served the blob."""


@dataclass(frozen=True, slots=True)
class Describe:
    """Who are you, and what do you run? Only for agents."""


Request = Annotated[
    Ping | StoreBlob | ListContributors | TrainRound | RevealRound | RunJob | JudgeRound,
    Variants(
        {
            1: Ping,
            2: StoreBlob,
            3: ListContributors,
            4: TrainRound,
            5: RevealRound,
            6: RunJob,
            7: JudgeRound,
        }
    ),
]
AgentRequest = Annotated[
    Describe | TrainRound | RevealRound | RunJob,
    Variants({1: Describe, 4: TrainRound, 5: RevealRound, 6: RunJob}),
]
WorkerRequest = TrainRound | RevealRound | RunJob
"""What the gateway passes on to a contributor."""


@dataclass(frozen=True, slots=True)
class Done:
    """Answer to Ping and StoreBlob."""


@dataclass(frozen=True, slots=True)
class Contributor:
    """A contributor whose agent answers."""

    address: Address
    kinds: Kinds


@dataclass(frozen=True, slots=True)
class Contributors:
    members: Annotated[tuple[Contributor, ...], Size(0, 4096)]


@dataclass(frozen=True, slots=True)
class Signed:
    """A contributor's signed transaction with what it speaks of."""

    raw: RawTransaction
    output: Blob
    """The revealed update or the job's output; empty for a commitment."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A round as this panel member sees it."""

    verdicts: Annotated[tuple[Verdict, ...], Size(0, 256)]
    aggregate: Blob
    score: Score


@dataclass(frozen=True, slots=True)
class Failure:
    """A call failed; becomes Invalid or Unavailable on the asking side."""

    id: CallId
    is_invalid: bool
    """Whether the request can never succeed as it is."""
    code: Annotated[str, Size(1, 64)]
    message: Annotated[str, Size(0, 4 * MESSAGE_CHARACTERS_MAX)]


@dataclass(frozen=True, slots=True)
class Up:
    """The gateway has joined the cluster."""

    init_ms: Millis
    """From the start of the process."""


@dataclass(frozen=True, slots=True)
class Call:
    id: CallId
    timeout_ms: Annotated[int, Range(1, 3_600_000)]
    request: Request


Result = Annotated[
    Done | Contributors | Signed | Judged,
    Variants({1: Done, 2: Contributors, 3: Signed, 4: Judged}),
]


@dataclass(frozen=True, slots=True)
class Answer:
    id: CallId
    result: Result


GatewayFrame = Annotated[Up | Answer | Failure, Variants({1: Up, 2: Answer, 3: Failure})]
"""What a gateway writes."""


@dataclass(frozen=True, slots=True)
class AgentCall:
    """Header of a call to an agent; `blobs` raw frames follow, in the order the request names."""

    blobs: Annotated[int, Range(0, BLOBS_PER_CALL_MAX)]
    request: AgentRequest


AgentReply = Annotated[
    Contributor | Signed | Failure, Variants({1: Contributor, 2: Signed, 3: Failure})
]
"""What an agent answers; the output of a Signed is empty here and follows as a raw frame."""


def failure_of(id: int, error: AiosError) -> Failure:
    """The frame that carries `error`."""
    message = error.message[:MESSAGE_CHARACTERS_MAX]
    return Failure(id, isinstance(error, Invalid), error.code, message)


def error_of(failure: Failure) -> AiosError:
    """The error that `failure` carries."""
    kind = Invalid if failure.is_invalid else Unavailable
    return kind(failure.code, failure.message)


def length_of(head: bytes) -> int:
    """Length of the frame that begins with these LENGTH_BYTES.

    Raises Invalid(`frame_too_large`).
    """
    return check_length(int.from_bytes(head, "big"), FRAME_BYTES_MAX)
