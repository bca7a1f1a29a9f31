"""Learning tasks on chain (paper §4.1; DESIGN §9): submit, commit, reveal, attest.

A model, an update and a test shard are blobs named by CID; their bytes are read by `compute`.
Parameters and updates are int32 with 24 fractional bits.
"""

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Annotated, Final

from p2p_aios.codec.limits import Range, Size
from p2p_aios.crypto.hashing import signing_digest
from p2p_aios.errors import Invalid
from p2p_aios.units import Address, Amount, Cid, Hash

TaskId = Hash
"""Id of the transaction that submitted the task."""
Round = Annotated[int, Range(0, 2**32)]
"""Number of a round within its task, from 0."""
Blocks = Annotated[int, Range(1, 2**32)]
Seats = Annotated[tuple[Address, ...], Size(0, 256)]
PARAMETER_BYTES: Final = 4
"""A model parameter is an int32."""
PARAMETERS_MAX: Final = (1 << 24) - 64
"""Most parameters of a model: its blob stays below 64 MiB."""


class ModelKind(IntEnum):
    LINEAR = 1
    """Eq. (5): f(x) = θ_0 + Σ θ_i x_i, one output per class."""
    MLP = 2
    """Eq. (8): σ(W_2 σ(W_1 x + b_1) + b_2), any depth; the last layer is left linear (logits)."""


class Activation(IntEnum):
    RELU = 1
    SIGMOID = 2


class Rule(IntEnum):
    """How updates become the next model."""

    MEAN = 1
    """Eq. (7) with k read as the number of participants: M + (1/K) Σ ΔM_k."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """Shape of a model: everything needed to read its parameter blob."""

    kind: ModelKind
    layers: Annotated[tuple[Annotated[int, Range(1, 1 << 20)], ...], Size(2, 16)]
    """Widths from the inputs to the outputs, e.g. (64, 64, 10); a linear model has two."""
    activation: Activation


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """Local SGD that every contributor runs on its own data."""

    epochs: Annotated[int, Range(1, 1000)]
    """Passes over the local data per round."""
    batch: Annotated[int, Range(1, 1 << 16)]
    """Rows per step."""
    learning_rate: Annotated[int, Range(1, 10**12)]
    """In units of 10^-9."""


@dataclass(frozen=True, slots=True)
class SubmitTask:
    """Open a learning task; `budget` is escrowed and paid out over its rounds."""

    model: ModelSpec
    base: Cid
    """Parameters the first round starts from."""
    plan: TrainingPlan
    rule: Rule
    test_shard: Cid
    """Public rows every validator scores the aggregate on."""
    update_limit: Annotated[int, Range(1, 2**31 - 1)]
    """Largest magnitude of one update component, 24 fractional bits; beyond it: out of range."""
    rounds: Annotated[int, Range(1, 2**32)]
    seats: Annotated[int, Range(1, 256)]
    """Most contributors drawn per round."""
    updates_min: Annotated[int, Range(1, 256)]
    """Fewer accepted updates than this void the round."""
    commit_blocks: Blocks
    """Longest COMMIT window; it closes early when every seat has committed."""
    reveal_blocks: Blocks
    attest_blocks: Blocks
    budget: Amount
    bond: Amount
    """Escrowed by each commit; forfeited by an update that is not revealed or not accepted."""


@dataclass(frozen=True, slots=True)
class CommitUpdate:
    """Bind the sender to an update that nobody has seen."""

    task: TaskId
    round: Round
    commitment: Hash
    """`update_commitment` of the fields below."""


@dataclass(frozen=True, slots=True)
class RevealUpdate:
    """Name the committed update; its blob is pulled by CID."""

    task: TaskId
    round: Round
    update: Cid
    salt: Hash


class Verdict(IntEnum):
    """What a panel member says of one revealed update; every refusal names its reason."""

    ACCEPTED = 0
    UNAVAILABLE = 1
    """Nobody served the blob before the deadline."""
    MALFORMED = 2
    """Not an update blob at all."""
    MISSHAPEN = 3
    """Another number of parameters than the model has."""
    NON_FINITE = 4
    """NaN or infinity."""
    OUT_OF_RANGE = 5
    """A component beyond the task's update_limit."""
    OVERSIZED = 6
    """More bytes than the model's update can take."""
    DUPLICATE = 7
    """The same bytes as an earlier seat's update."""


@dataclass(frozen=True, slots=True)
class Score:
    """Exact result of a model on the test shard."""

    loss: Annotated[int, Range(0, 2**63 - 1)]
    """Sum over rows, 24 fractional bits."""
    correct: Annotated[int, Range(0, 2**32)]
    rows: Annotated[int, Range(0, 2**32)]


@dataclass(frozen=True, slots=True)
class AttestRound:
    """A panel member's recomputation of a round; equal ones of > 2/3 weight settle it."""

    task: TaskId
    round: Round
    verdicts: Annotated[tuple[Verdict, ...], Size(0, 256)]
    """One per revealed update, in seat order."""
    aggregate: Cid
    """Parameters after the round; the base itself where too few updates were accepted."""
    score: Score


def count_parameters(model: ModelSpec) -> int:
    """Weights and biases of all layers: the length of the flat parameter vector."""
    return sum((inputs + 1) * outputs for inputs, outputs in pairwise(model.layers))


def check_model(model: ModelSpec) -> None:
    """Raises Invalid: `model_malformed`, `model_too_large`."""
    if model.kind is ModelKind.LINEAR and len(model.layers) != 2:
        raise Invalid("model_malformed", "a linear model has two widths: inputs and outputs")
    if model.layers[-1] < 2:
        raise Invalid("model_malformed", "a classifier has at least two outputs")
    count = count_parameters(model)
    if count > PARAMETERS_MAX:
        raise Invalid(
            "model_too_large", f"{count} parameters where at most {PARAMETERS_MAX} are accepted"
        )


def refusal_code(verdict: Verdict) -> str:
    """Code of a refused update, in events and errors."""
    return f"update_{verdict.name.lower()}"


def update_commitment(
    chain_id: Hash, task: TaskId, round: Round, worker: Address, base: Cid, update: Cid, salt: Hash
) -> Hash:
    """H(chain ‖ task ‖ round ‖ address ‖ base root ‖ CID ‖ salt): binds, hides, never replays."""
    where = task + round.to_bytes(8, "big") + worker
    return signing_digest("update-commitment", chain_id, where + base + update + salt)
