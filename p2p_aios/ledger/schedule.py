"""Index entries that say when something is due, kept in order so a block looks at few."""

from bisect import insort

from p2p_aios.ledger.records import Due
from p2p_aios.units import Hash, Height


def with_due(entries: tuple[Due, ...], id: Hash, height: Height) -> tuple[Due, ...]:
    """`entries`, ascending by (height, id), with the one of `id` moved to `height`."""
    kept = [entry for entry in entries if entry.id != id]
    insort(kept, Due(height, id), key=lambda entry: (entry.height, entry.id))
    return tuple(kept)


def without_due(entries: tuple[Due, ...], id: Hash) -> tuple[Due, ...]:
    return tuple(entry for entry in entries if entry.id != id)


def overdue(entries: tuple[Due, ...], height: Height) -> tuple[Due, ...]:
    """Those whose last height has passed at the start of the block at `height`."""
    return tuple(entry for entry in entries if entry.height < height)
