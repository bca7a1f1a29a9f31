"""Inclusion and exclusion proofs, and their standalone verifier.

A proof is the encodings of the nodes from the root to where the path ends or leaves the trie. It
needs no keys, ids or directions beside it: every node is fixed by its parent, the first by the
root hash. In a trie with sums every node's sums are recomputed from its content and compared with
what its parent claims, so a proof of one leaf also proves its share of the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2p_aios.errors import Invalid
from p2p_aios.trie.lookup import descend, follow
from p2p_aios.trie.nodes import (
    PATH_BYTES_MAX,
    Branch,
    Codec,
    Node,
    Read,
    is_inline,
    load,
    nibbles_of,
)
from p2p_aios.units import Hash

PROOF_NODES_MAX: Final = 2 * PATH_BYTES_MAX + 1
"""A node consumes at least a nibble, and the last may consume none."""

Proof = tuple[bytes, ...]
"""Encoded nodes, root first; empty for the empty trie."""


@dataclass(frozen=True, slots=True)
class Proved:
    """What a proof shows."""

    value: bytes | None
    """At the path; None where the trie has nothing there."""
    totals: tuple[int, ...]
    """Sums of the whole trie, in the codec's order; empty without sums."""


def prove(codec: Codec, read: Read, root: bytes | None, path: bytes) -> Proof:
    """Proof of what lies at `path`, be it a value or nothing. Raises Corrupt."""
    nodes: list[bytes] = []
    key, depth, reference = nibbles_of(path), 0, root
    while reference is not None:
        stored = load(read, reference)
        if not is_inline(reference) or not nodes:  # an inline node is inside its parent
            nodes.append(codec.split(stored)[0])
        reference, depth, _ = descend(codec, stored, key, depth)
    return tuple(nodes)


def verify_proof(codec: Codec, root: Hash, path: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The value at `path` under the root hash, or None: proven absent. Raises as `check_proof`."""
    return check_proof(codec, root, path, proof).value


def check_proof(codec: Codec, root: Hash, path: bytes, proof: Sequence[bytes]) -> Proved:
    """What `proof` shows of `path` under the root hash `root`.

    Raises Invalid: `proof_too_long`, `path_too_long`, `proof_root_mismatch` (the first node is not
    the root), `proof_link_mismatch` (a node is not what its parent names), `proof_incomplete`,
    `proof_has_extra`, what the codec refuses of a node (`node_malformed`, `node_not_canonical`),
    and with sums `leaf_unweighed` and `sum_overflow`.
    """
    if len(proof) > PROOF_NODES_MAX:
        raise Invalid("proof_too_long", f"a proof has at most {PROOF_NODES_MAX} nodes")
    if len(path) > PATH_BYTES_MAX:
        raise Invalid("path_too_long", f"a path has at most {PATH_BYTES_MAX} bytes")
    if not proof:
        if root != codec.root_hash(None):
            raise Invalid("proof_incomplete", "a proof without nodes fits the empty trie only")
        return Proved(None, codec.totals(None))
    link = codec.link(proof[0])
    if codec.root_hash(link) != root:
        raise Invalid("proof_root_mismatch", "the proof does not start at this root")
    value, used = _trace(codec, nibbles_of(path), proof)
    if used != len(proof):
        raise Invalid("proof_has_extra", f"only {used} of {len(proof)} nodes lie on the path")
    return Proved(value, codec.totals(link))


def _trace(codec: Codec, key: bytes, proof: Sequence[bytes]) -> tuple[bytes | None, int]:
    """Value at `key`, and how many nodes of the proof led there."""
    encoded, depth, used = proof[0], 0, 1
    while True:
        # Without ids, children come as links.
        link, depth, value = follow(_open(codec, encoded), key, depth)
        if link is None:
            return value, used
        if is_inline(link):
            encoded = link
            continue
        if used == len(proof):
            raise Invalid("proof_incomplete", "the proof ends before its path does")
        encoded, used = proof[used], used + 1
        if codec.link(encoded) != link:
            raise Invalid("proof_link_mismatch", f"node {used - 1} is not what its parent names")


def _open(codec: Codec, encoded: bytes) -> Node:
    node = codec.decode(encoded, b"")
    if isinstance(node, Branch):
        ways = len(node.children) - node.children.count(None) + (node.value is not None)
        if ways < 2:
            raise Invalid("node_malformed", "a branch leads at least two ways")
    return node
