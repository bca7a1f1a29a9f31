"""Protocol parameters and their presets.

They live in genesis and are hashed into the chain id: two nodes that differ in one of them are on
different chains. Bounds that only protect a process (queues, time-outs) are named where they act.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Final

from p2p_aios.codec.limits import Range
from p2p_aios.units import AIOS, Amount, Fixed, Millis

Count = Annotated[int, Range(1, 2**32)]


@dataclass(frozen=True, slots=True)
class Params:
    """What validators must agree on besides the rules themselves."""

    epoch_blocks: Count
    """Blocks per settlement (paper §7.2: 1200, about ten minutes)."""
    era_epochs: Count
    """Epochs per halving era (paper §7.2: four years)."""
    block_interval_ms: Millis
    """Least distance of two block timestamps (paper §7.2: half a second)."""
    block_bytes_max: Count
    """Largest sum of encoded transactions in a block."""
    block_transactions_max: Count
    """Most transactions in a block."""
    transaction_bytes_max: Count
    """Largest encoded transaction."""
    transaction_lifetime_blocks: Count
    """Farthest a transaction's expiry may lie ahead of the block that includes it."""
    delta_ms: Millis
    """Consensus Δ: assumed one-way delay; time-outs are multiples of it."""
    delta_max_ms: Millis
    """Where Δ stops doubling."""
    clock_skew_ms: Millis
    """How far ahead of a voter's clock a block's timestamp may lie before the voter waits."""
    silent_views: Count
    """A leader unheard for this many views is nullified at once."""
    unfinalized_blocks_max: Count
    """Beyond this many unfinalized blocks leaders propose empty ones."""
    evidence_epochs: Count
    """How long two conflicting votes of one key stay punishable."""
    committee_seats_max: Count
    beacon_chain_length: Count
    """Preimages in one registered beacon chain."""
    fee_base: Amount
    """Fee of any transaction, before its bytes."""
    fee_per_byte: Amount
    validator_share: Fixed
    """Part of each epoch's pool for validators; shares sum to at most 10^9."""
    contributor_share: Fixed
    """Part for contributors; what is left of the pool goes to the treasury."""
    blob_bytes_max: Count
    """Largest blob the storage network takes in one piece."""
    challenge_blocks: Count
    """How long a settled round's blobs are kept for anyone to recompute."""
    task_rounds_max: Count
    task_seats_max: Count
    window_blocks_max: Count
    """Longest window a task or job may ask for."""
    reveal_blocks_min: Count
    """Shortest REVEAL of a task: who cannot reveal in time loses the bond, and anybody may submit a
    task with any bond."""
    attest_blocks_min: Count
    """Shortest time to attest a round: one that ends unattested shows all its updates and pays for
    none."""


MAINNET: Final = Params(
    epoch_blocks=1200,
    era_epochs=210_000,
    block_interval_ms=Millis(500),
    block_bytes_max=512 * 1024,
    block_transactions_max=4096,
    transaction_bytes_max=64 * 1024,
    transaction_lifetime_blocks=1200,
    delta_ms=Millis(300),
    delta_max_ms=Millis(8000),
    clock_skew_ms=Millis(250),
    silent_views=10,
    unfinalized_blocks_max=32,
    evidence_epochs=100,
    committee_seats_max=64,
    beacon_chain_length=1 << 20,
    fee_base=Amount(AIOS // 1000),
    fee_per_byte=Amount(AIOS // 1_000_000),
    validator_share=Fixed(400_000_000),
    contributor_share=Fixed(500_000_000),
    blob_bytes_max=64 << 20,
    challenge_blocks=2 * 1200,
    task_rounds_max=10_000,
    task_seats_max=256,
    window_blocks_max=1200,
    reveal_blocks_min=8,
    attest_blocks_min=16,
)

PRESETS: Final = {
    "mainnet": MAINNET,
    "testnet": replace(MAINNET, beacon_chain_length=1 << 18),
    "fast": replace(
        MAINNET, epoch_blocks=40, beacon_chain_length=1 << 16, challenge_blocks=4 * 1200
    ),
}
"""Named parameter sets for `aios testnet up --preset` and genesis files."""
