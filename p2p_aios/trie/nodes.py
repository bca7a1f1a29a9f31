"""Nodes of a hexary Merkle Patricia trie, their paths, and the port to what encodes them.

A trie is known by the *reference* of its root, None where it is empty. A reference is

    link || append id (8 bytes)

where the link is what the parent's encoding holds of a child: its hash, and its sums where the
codec has any. The id names the node in the store; it is never hashed. A link shorter than a hash
is an *inline* node (Ethereum embeds small ones in their parent): it is the node's own encoding,
has no id and is its own reference.

Structure: Ethereum's Yellow Paper, appendix D.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from p2p_aios.errors import Corrupt, Invalid
from p2p_aios.units import Hash

SLOTS: Final = 16
HASH_BYTES: Final = 32
ID_BYTES: Final = 8
PATH_BYTES_MAX: Final = 128
"""Longest key; bounds recursion and proofs. The tries of AIOS use sha256 paths of 32 bytes."""
Read = Callable[[bytes], bytes | None]
"""The store: append id to stored node."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Sixteen ways on, and the value of the path that ends here."""

    children: tuple[bytes | None, ...]
    """Reference per nibble; 16 of them."""
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Extension:
    """A stretch of path without a fork."""

    path: bytes
    """Nibbles, one per byte; at least one."""
    child: bytes
    """Reference of the branch it leads to."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """The rest of a path, and its value."""

    path: bytes
    """Nibbles, one per byte."""
    value: bytes


Node = Branch | Extension | Leaf
Changes = Sequence[tuple[int, bytes]]
"""(slot, new reference) of a branch, ascending."""


class Codec(Protocol):
    """How nodes become bytes, and bytes links. What a store keeps of a node is encoding || ids."""

    def encode(self, node: Node) -> tuple[bytes, bytes]:
        """Encoding, which is hashed, and the ids of the children not inline, in slot order."""

    def decode(self, encoded: bytes, ids: bytes) -> Node:
        """Inverse of `encode`, refusing with Invalid all that `encode` would not have written.

        Surplus ids are ignored, and where they run out children are links.
        """

    def split(self, stored: bytes) -> tuple[bytes, bytes]:
        """Encoding and ids of a stored node."""

    def link(self, encoded: bytes) -> bytes:
        """What a parent holds of this node, sums recomputed from its content."""

    def root_hash(self, link: bytes | None) -> Hash:
        """The one hash that commits to a trie; None is the empty one."""

    def totals(self, link: bytes | None) -> tuple[int, ...]:
        """The sums in a link."""

    def revalue(self, stored: bytes, path: bytes, value: bytes) -> bytes | None:
        """Encoding of this leaf with another value; None unless it is a leaf of just this path."""

    def is_branch(self, stored: bytes) -> bool: ...

    def child(self, stored: bytes, slot: int) -> bytes | None:
        """Reference in a branch's slot."""

    def splice(self, stored: bytes, changes: Changes) -> tuple[bytes, bytes]:
        """Encoding and ids of a branch with `changes` made."""


def root_hash(codec: Codec, root: bytes | None) -> Hash:
    """The hash that commits to the trie at reference `root`."""
    return codec.root_hash(None if root is None else link_of(root))


def link_of(reference: bytes) -> bytes:
    return reference if is_inline(reference) else reference[:-ID_BYTES]


def is_inline(reference: bytes) -> bool:
    """Whether a reference, or link, is the node itself."""
    return len(reference) < HASH_BYTES


def load(read: Read, reference: bytes) -> bytes:
    """Stored form of the node; raises Corrupt(`trie_node_missing`)."""
    return reference if len(reference) < HASH_BYTES else load_id(read, reference[-ID_BYTES:])


def load_id(read: Read, node_id: bytes) -> bytes:
    """Stored form of the node; raises Corrupt(`trie_node_missing`)."""
    stored = read(node_id)
    if stored is None:
        raise Corrupt("trie_node_missing", f"no trie node {node_id.hex()}")
    return stored


def open_node(codec: Codec, stored: bytes) -> Node:
    """Decode a node of our own store; raises Corrupt(`trie_node_damaged`)."""
    try:
        return codec.decode(*codec.split(stored))
    except Invalid as error:
        raise Corrupt("trie_node_damaged", error.message) from None


_DIGITS: Final = b"0123456789abcdef"
_TO_NIBBLES: Final = bytes.maketrans(_DIGITS, bytes(range(SLOTS)))
_TO_DIGITS: Final = bytes.maketrans(bytes(range(SLOTS)), _DIGITS)


def nibbles_of(path: bytes) -> bytes:
    """Two nibbles per byte, high first."""
    return path.hex().encode().translate(_TO_NIBBLES)


def bytes_of(nibbles: bytes) -> bytes:
    """Inverse of `nibbles_of`, for an even number of nibbles."""
    return bytes.fromhex(nibbles.translate(_TO_DIGITS).decode())


def pack_path(nibbles: bytes, is_leaf: bool) -> bytes:
    """Hex-prefix form (Yellow Paper, appendix C): a flag nibble, a filler where even, the path."""
    flag = 2 if is_leaf else 0
    head = bytes((flag + 1,)) if len(nibbles) & 1 else bytes((flag, 0))
    return bytes_of(head + nibbles)


def unpack_path(packed: bytes) -> tuple[bytes, bool]:
    """Nibbles, and whether they end in a leaf; raises Invalid(`node_malformed`)."""
    nibbles = nibbles_of(packed)
    if not nibbles or nibbles[0] > 3 or not (nibbles[0] & 1 or nibbles[1] == 0):
        raise Invalid("node_malformed", "a path's hex prefix is wrong")
    return nibbles[2 - (nibbles[0] & 1) :], nibbles[0] >= 2
