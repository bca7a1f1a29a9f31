"""Proofs that a node gives its clients: of a block's finality, and of what the state held.

    value -> state trie -> Header.state_root -> header chain -> certificate -> committee

Whoever knows the committee of the certificate's epoch can check every arrow.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.limits import Size
from p2p_aios.types.block import Header
from p2p_aios.types.vote import Certificate

PROOF_HEADERS_MAX: Final = 64
"""Most headers from a block to the descendant whose certificate finalized it."""
STATE_KEY_BYTES_MAX: Final = 64
STATE_VALUE_BYTES_MAX: Final = 1 << 18
TRIE_NODES_MAX: Final = 65
"""Most trie nodes on a path of 32 bytes: one a nibble, and a last that consumes none."""
TRIE_NODE_BYTES_MAX: Final = (1 << 18) + 4096

StateKey = Annotated[bytes, Size(1, STATE_KEY_BYTES_MAX)]
"""A table's prefix byte, then the record's key in it."""
TrieNodes = Annotated[
    tuple[Annotated[bytes, Size(1, TRIE_NODE_BYTES_MAX)], ...], Size(0, TRIE_NODES_MAX)
]


@dataclass(frozen=True, slots=True)
class FinalityProof:
    """That a block is final."""

    headers: Annotated[tuple[Header, ...], Size(1, PROOF_HEADERS_MAX)]
    """The block's, then its descendants' up to the one that is certified."""
    certificate: Certificate
    """Finalizes the last of `headers`, and so all of them."""


@dataclass(frozen=True, slots=True)
class StateProof:
    """What the state after a final block holds at a key, be it a record or nothing."""

    key: StateKey
    value: Annotated[bytes, Size(0, STATE_VALUE_BYTES_MAX)] | None
    """Encoded record; None where there is none."""
    nodes: TrieNodes
    """From the root on; their first hashes to the first header's state_root."""
    finality: FinalityProof
