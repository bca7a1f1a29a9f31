"""Reading a trie: one path, every item in order, every node, a weighted draw."""

from collections.abc import Iterator

from p2p_aios.errors import Corrupt, Invalid, invariant
from p2p_aios.trie.nodes import (
    HASH_BYTES,
    ID_BYTES,
    Branch,
    Codec,
    Extension,
    Leaf,
    Node,
    Read,
    bytes_of,
    is_inline,
    link_of,
    load,
    nibbles_of,
    open_node,
)

Step = tuple[bytes | None, int, bytes | None]
"""Reference of the next node or None, depth in nibbles there, value found here or None."""


def lookup(codec: Codec, read: Read, root: bytes | None, path: bytes) -> bytes | None:
    """Value at `path`, or None. Raises Corrupt where the store lacks a node."""
    key, depth, value = nibbles_of(path), 0, None
    while root is not None:
        root, depth, value = descend(codec, load(read, root), key, depth)
    return value


def descend(codec: Codec, stored: bytes, key: bytes, depth: int) -> Step:
    """One step from a stored node towards `key`; branches are not decoded."""
    if depth < len(key) and codec.is_branch(stored):
        return codec.child(stored, key[depth]), depth + 1, None
    return follow(open_node(codec, stored), key, depth)


def follow(node: Node, key: bytes, depth: int) -> Step:
    """One step from a decoded node towards `key` (nibbles), of which `depth` are behind us."""
    if isinstance(node, Branch):
        if depth == len(key):
            return None, depth, node.value
        return node.children[key[depth]], depth + 1, None
    if isinstance(node, Leaf):
        return None, depth, node.value if key[depth:] == node.path else None
    end = depth + len(node.path)
    return (node.child, end, None) if key[depth:end] == node.path else (None, depth, None)


def items(codec: Codec, read: Read, root: bytes | None) -> Iterator[tuple[bytes, bytes]]:
    """(path, value) of everything in the trie, ascending by path."""
    for nibbles, node, _ in walk(codec, read, root):
        if isinstance(node, Leaf):
            yield bytes_of(nibbles + node.path), node.value
        elif isinstance(node, Branch) and node.value is not None:
            yield bytes_of(nibbles), node.value


def walk(
    codec: Codec, read: Read, root: bytes | None, *, checked: bool = False
) -> Iterator[tuple[bytes, Node, bytes | None]]:
    """(nibbles before it, node, append id or None if inline) of every node, parents first.

    `checked` recomputes each link and raises Corrupt(`trie_node_damaged`) where one is wrong.
    """
    pending = [] if root is None else [(b"", root)]
    while pending:
        nibbles, reference = pending.pop()
        stored = load(read, reference)
        if checked and codec.link(codec.split(stored)[0]) != link_of(reference):
            raise Corrupt("trie_node_damaged", f"the node at {nibbles.hex()} is not what it was")
        node = open_node(codec, stored)
        yield nibbles, node, None if is_inline(reference) else reference[-ID_BYTES:]
        if isinstance(node, Extension):
            pending.append((nibbles + node.path, node.child))
        elif isinstance(node, Branch):
            for slot in range(len(node.children) - 1, -1, -1):
                child = node.children[slot]
                if child is not None:
                    pending.append((nibbles + bytes((slot,)), child))


def draw(
    codec: Codec, read: Read, root: bytes | None, which: int, point: int
) -> tuple[bytes, bytes]:
    """(path, value) of the leaf that holds `point` of sum number `which`, in O(log n) reads.

    Leaves lie side by side in path order, each as wide as its sum: a uniform point in
    0..total-1 draws a leaf with probability proportional to it (paper §2.3.1, by our reading).
    Raises Invalid(`point_out_of_range`). For fixed-length paths with values in leaves.
    """
    total = 0 if root is None else codec.totals(link_of(root))[which]
    if root is None or not 0 <= point < total:
        raise Invalid("point_out_of_range", f"point {point} is not below the total of {total}")
    nibbles, reference = b"", root
    while True:
        node = open_node(codec, load(read, reference))
        if isinstance(node, Leaf):
            return bytes_of(nibbles + node.path), node.value
        if isinstance(node, Extension):
            nibbles, reference = nibbles + node.path, node.child
            continue
        slot, reference, point = _child_at(codec, node, which, point)
        nibbles += bytes((slot,))


def _child_at(codec: Codec, node: Branch, which: int, point: int) -> tuple[int, bytes, int]:
    """Slot and reference of the child that holds `point`, and the point within it."""
    for slot, child in enumerate(node.children):
        if child is None:
            continue
        width = codec.totals(child[:-ID_BYTES])[which]
        if point < width:
            return slot, child, point
        point -= width
    invariant(False, "a branch's sums add up to its parent's")
    return 0, bytes(HASH_BYTES), 0
