"""What goes into the consensus core and what comes out; both are closed unions."""

from dataclasses import dataclass

from p2p_aios.consensus.records import Record
from p2p_aios.types.block import Block
from p2p_aios.types.committee import Committee
from p2p_aios.types.message import CommitteeMessage
from p2p_aios.types.vote import Certificate, Vote
from p2p_aios.units import Address, Epoch, Hash, Height, Millis, View


@dataclass(frozen=True, slots=True)
class Now:
    """Both clocks, read by the driver as the event reaches the core."""

    monotonic_ms: int
    """Never goes back; for time-outs."""
    wall_ms: int
    """Since the Unix epoch; for block timestamps only."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The finalized block a node stands on: executed, and on disk."""

    block: Hash
    """The chain id at height 0."""
    height: Height
    timestamp_ms: Millis
    certificate: Certificate | None
    """Finalization of this very block; None at height 0 only."""


@dataclass(frozen=True, slots=True)
class Term:
    """An epoch's committee and when the epoch began."""

    committee: Committee
    started_ms: Millis
    """Timestamp of the last block before the epoch; genesis' for epoch 0."""


# Events


@dataclass(frozen=True, slots=True)
class Start:
    """The first event, once; nothing is signed or sent before it."""


@dataclass(frozen=True, slots=True)
class Tick:
    """The time last asked for by `SetTimer` has come."""


@dataclass(frozen=True, slots=True)
class Received:
    """A decoded message on the committee stream of `peer`; its signatures are not yet checked."""

    peer: Address
    """Validator address the stream was authenticated for."""
    message: CommitteeMessage


@dataclass(frozen=True, slots=True)
class Built:
    """Answer to `Build`: the block, executed."""

    block: Block


@dataclass(frozen=True, slots=True)
class Verified:
    """Answer to `Verify`."""

    block: Hash
    code: str | None
    """Why the block is invalid; None for a valid one, which is then executed and kept."""


@dataclass(frozen=True, slots=True)
class Postponed:
    """Answer to `Verify` where the block could not be executed now, nobody being at fault: it is
    asked for again."""

    block: Hash


@dataclass(frozen=True, slots=True)
class Connected:
    peer: Address


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The peer's committee stream broke. Not to be sent for one that never stood."""

    peer: Address


@dataclass(frozen=True, slots=True)
class EpochReady:
    """The epoch's last block is executed and on disk; this is the next epoch's committee."""

    term: Term


@dataclass(frozen=True, slots=True)
class Synced:
    """The driver fetched finalized blocks itself, checked their certificate, and stored them.

    As after `Finalize`, executed candidates that descend from the anchor stay executed. Should a
    `Finalize` already under way name blocks that were stored so, the driver skips those.
    """

    anchor: Anchor
    term: Term
    """Of the epoch that the block after the anchor belongs to."""


Event = (
    Start
    | Tick
    | Received
    | Built
    | Verified
    | Postponed
    | Connected
    | Disconnected
    | EpochReady
    | Synced
)

# Outputs, executed in order


@dataclass(frozen=True, slots=True)
class Persist:
    """Append these and make them durable before any later output."""

    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class Send:
    """Send over the recipients' committee streams; dropping it where one is down is fine."""

    recipients: tuple[Address, ...]
    message: CommitteeMessage


@dataclass(frozen=True, slots=True)
class Build:
    """Assemble and execute a block on this parent; answer with `Built`, however late."""

    parent: Hash
    height: Height
    epoch: Epoch
    view: View
    timestamp_ms: Millis
    is_empty: bool
    """Too many blocks await finalization: take no transactions."""


@dataclass(frozen=True, slots=True)
class Verify:
    """Execute the block on its parent, which is executed already; answer with `Verified`."""

    block: Block


@dataclass(frozen=True, slots=True)
class Finalize:
    """Write these blocks, executed before, in one transaction, and drop their siblings."""

    blocks: tuple[Block, ...]
    """Oldest first; the first one's parent is the last one finalized before."""
    certificate: Certificate
    """Finalization of the last of them."""


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Wake with a `Tick` at this time; replaces the one set before."""

    monotonic_ms: int


@dataclass(frozen=True, slots=True)
class CatchUp:
    """Members' messages cannot bridge the gap: fetch finalized blocks, then answer `Synced`."""

    peer: Address
    """A peer that is ahead."""


@dataclass(frozen=True, slots=True)
class ReportEvidence:
    """One key signed both votes: put them on the chain."""

    first: Vote
    second: Vote


@dataclass(frozen=True, slots=True)
class Refused:
    """What the peer sent can never be right; for its score, and for a person to read."""

    peer: Address
    code: str


Output = Persist | Send | Build | Verify | Finalize | SetTimer | CatchUp | ReportEvidence | Refused


class Outbox:
    """Collects one step's outputs. Its records leave first, together: one sync makes them durable
    before anything that may depend on them."""

    def __init__(self) -> None:
        self._records: list[Record] = []
        self._outputs: list[Output] = []

    def persist(self, record: Record) -> None:
        self._records.append(record)

    def send(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        if recipients:
            self._outputs.append(Send(recipients, message))

    def emit(self, output: Output) -> None:
        self._outputs.append(output)

    def drain(self) -> tuple[Output, ...]:
        """What was collected, and forget it."""
        first: tuple[Output, ...] = (Persist(tuple(self._records)),) if self._records else ()
        outputs = first + tuple(self._outputs)
        self._records.clear()
        self._outputs.clear()
        return outputs
