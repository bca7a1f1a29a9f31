"""What the sync planner is told and what it wants done. Peers are binary peer ids."""

from dataclasses import dataclass

from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.request import GetBlocks
from p2p_aios.units import Hash, Height

Peer = bytes
RequestNumber = int
"""Names one request; an answer under a number no longer open is ignored."""


@dataclass(frozen=True, slots=True)
class PeerAnnounced:
    """A peer said (in a Status, or by gossip) that it holds finalized blocks up to `height`."""

    peer: Peer
    height: Height


@dataclass(frozen=True, slots=True)
class PeerLost:
    """The connection is gone; so are its open requests."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class TipFinalized:
    """Our own last finalized block: by what was delivered, or by consensus itself."""

    height: Height
    hash: Hash


@dataclass(frozen=True, slots=True)
class BlocksReceived:
    """The answer to request `number`."""

    peer: Peer
    number: RequestNumber
    blocks: tuple[FinalizedBlock, ...]


@dataclass(frozen=True, slots=True)
class RequestFailed:
    """Request `number` was refused, undecodable, or lost with its stream."""

    peer: Peer
    number: RequestNumber


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: at the latest at `SyncPlanner.wake_at_ms`."""


Event = PeerAnnounced | PeerLost | TipFinalized | BlocksReceived | RequestFailed | Tick


@dataclass(frozen=True, slots=True)
class Ask:
    """Send `request` to `peer`; report its end under `number`."""

    peer: Peer
    number: RequestNumber
    request: GetBlocks


@dataclass(frozen=True, slots=True)
class Penalize:
    """The peer sent what no honest one sends."""

    peer: Peer
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Execute and finalize these: they follow our tip, and a verified certificate ends them."""

    blocks: tuple[FinalizedBlock, ...]


Output = Ask | Penalize | Deliver
