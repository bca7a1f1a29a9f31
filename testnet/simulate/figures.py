"""What a simulated world shows of its pace."""

from itertools import pairwise
from statistics import median, quantiles

from testnet.simulate.application import GENESIS_MS
from testnet.simulate.validator import Validator
from testnet.simulate.world import World


def world_figures(world: World) -> dict[str, int | float]:
    """What an honest validator saw that no fault befell, where there is one."""
    befallen = {i for fault in world.conditions.faults for i in fault.members}
    witness = min(world.honest, key=lambda v: (v.index in befallen, v.index))
    gaps = _gaps(witness)
    finality = finality_ms(witness)
    return {
        "height": witness.ledger.height,
        "block_interval_p50_ms": median(gaps) if gaps else 0,
        "block_interval_max_ms": max(gaps, default=0),
        "finality_p50_ms": median(finality) if finality else 0,
        "finality_p99_ms": quantiles(finality, n=100)[98] if len(finality) > 1 else 0,
        "nullify_votes": world.invariants.nullified_views,
        "evidence": len(world.invariants.evidence),
    }


def finality_ms(validator: Validator, above: int = 0) -> list[int]:
    """From each block's timestamp to its finalization there, of those higher than `above`."""
    return [
        at + GENESIS_MS - validator.ledger.timestamp_at(height)
        for height, at in sorted(validator.finalized_at.items())
        if height > above
    ]


def _gaps(validator: Validator) -> list[int]:
    """Milliseconds between successive finalizations."""
    times = [at for _, at in sorted(validator.finalized_at.items())]
    return [after - before for before, after in pairwise(times)]
