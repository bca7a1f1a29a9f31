"""What a rule may look at: the block's context, the state, and the events it adds to."""

from dataclasses import dataclass, field

from p2p_aios.ledger.state import State
from p2p_aios.params import Params
from p2p_aios.types.event import Event
from p2p_aios.units import Address, Epoch, Hash, Height, Millis


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What a block's execution depends on besides state and transactions."""

    chain_id: Hash
    params: Params
    height: Height
    epoch: Epoch
    timestamp_ms: Millis
    proposer: Address
    """Address of the proposer's validator key; consensus checked that it leads the view."""
    reveal: Hash
    """Next preimage of the proposer's beacon chain."""


@dataclass(slots=True)
class Environment:
    """One block being executed. Rules change `state` and append to `events`."""

    context: BlockContext
    state: State
    events: list[Event] = field(default_factory=list)
    """Of the transaction being applied, or of the block itself."""
    fees: int = 0
    """Fees taken so far; they move from the accounts' purse to the pool once a block."""


def epoch_of(height: int, params: Params) -> Epoch:
    """Epoch of a block: 1..epoch_blocks are epoch 0; so is genesis."""
    return Epoch(max(height - 1, 0) // params.epoch_blocks)


def is_epoch_end(height: int, params: Params) -> bool:
    """Whether the block at `height` settles its epoch."""
    return height > 0 and height % params.epoch_blocks == 0


def is_era_start(height: int, params: Params) -> bool:
    """Whether the block reward is set anew at `height`."""
    return (height - 1) % (params.epoch_blocks * params.era_epochs) == 0
