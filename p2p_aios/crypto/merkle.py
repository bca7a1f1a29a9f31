"""Merkle lists: one root over an ordered list of byte strings (RFC 6962 §2.1).

Transactions and receipts of a block are such lists. Leaves and inner nodes are hashed under
different prefixes, so neither can stand for the other.
"""

import hashlib
from collections.abc import Sequence

from p2p_aios.errors import invariant
from p2p_aios.units import Hash


def _leaf(data: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + data).digest()


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def merkle_root(leaves: Sequence[bytes]) -> Hash:
    """Root of the list; of an empty one, sha256 of nothing."""
    if not leaves:
        return Hash(hashlib.sha256(b"").digest())
    level = [_leaf(leaf) for leaf in leaves]
    while len(level) > 1:
        level = _next_level(level)
    return Hash(level[0])


def _next_level(level: list[bytes]) -> list[bytes]:
    # An odd last node moves up unchanged; level by level this equals RFC 6962's split at the
    # largest power of two.
    above = [_parent(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
    if len(level) % 2:
        above.append(level[-1])
    return above


def merkle_proof(leaves: Sequence[bytes], index: int) -> tuple[Hash, ...]:
    """Sibling hashes from the leaf at `index`, which must be one of them, up to the root."""
    invariant(0 <= index < len(leaves), "a proof is of a leaf that is there")
    level = [_leaf(leaf) for leaf in leaves]
    path: list[Hash] = []
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(Hash(level[sibling]))
        level, index = _next_level(level), index // 2
    return tuple(path)


def is_in_merkle(root: Hash, leaf: bytes, index: int, count: int, path: Sequence[Hash]) -> bool:
    """Whether `path` proves that `leaf` is number `index` of the `count` leaves under `root`.

    The root does not commit to the count: of a count that the prover names, only the leaf's being
    there is proved, not its index.
    """
    if not 0 <= index < count:
        return False
    node, siblings = _leaf(leaf), list(path)
    while count > 1:
        if index % 2 or index + 1 < count:
            if not siblings:
                return False
            sibling = siblings.pop(0)
            node = _parent(sibling, node) if index % 2 else _parent(node, sibling)
        index, count = index // 2, (count + 1) // 2
    return not siblings and node == root
