"""What goes into the chain store and what comes out of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.limits import Range, Size
from p2p_aios.units import UINT64_MAX, Hash, Height

REFERENCE_BYTES_MAX: Final = 128
"""Longest reference of a trie's root: hash, sums, append id."""

Reference = Annotated[bytes, Size(1, REFERENCE_BYTES_MAX)]


@dataclass(frozen=True, slots=True)
class Roots:
    """References of both tries' roots after a block; None is the empty trie."""

    state: Reference | None
    pash: Reference | None


@dataclass(frozen=True, slots=True)
class Tip:
    """Where the chain stands."""

    height: Height
    block_hash: Hash
    roots: Roots
    next_id: Annotated[int, Range(0, UINT64_MAX)]
    """No trie node on disk has this append id or a later one."""


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """All that one finalized block leaves on disk."""

    height: Height
    block_hash: Hash
    block: bytes
    """Encoded `Block`; for height 0, the encoded genesis."""
    certificate: bytes | None
    """Encoded `Certificate` that finalizes this very block, where there is one."""
    outcome: bytes
    """Encoded `BlockOutcome`."""
    transactions: Sequence[Hash]
    """Ids, in block order."""
    state: Mapping[bytes, bytes | None]
    """State key to new value; None deletes."""
    nodes: Mapping[bytes, bytes]
    """New nodes of both tries, by append id."""
    stale: Sequence[bytes]
    """Ids of the parent's nodes that these roots no longer reach."""
    roots: Roots


@dataclass(frozen=True, slots=True)
class FinalizedBatch:
    """Blocks that became final together, ascending."""

    blocks: Sequence[BlockRecord]
    next_id: int
    """Append ids from here on were never given to a node of these blocks."""


@dataclass(frozen=True, slots=True)
class StoreFigures:
    """How large the store is, and what writing to it cost since it was opened."""

    state_entries: int
    """Keys of the latest state."""
    trie_nodes: int
    """Of all kept tries together."""
    file_bytes: int
    """Of the chain's database file."""
    commits: int
    commit_s: float
    """Seconds in all of them together."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a transaction is."""

    height: Height
    index: int
