"""Bulk updates: many keys at once, each touched node encoded and hashed once.

The batch is sorted, so the keys below a node are one slice of it and the recursion carries bounds
instead of copies. Where a branch only gets new references for children, they are spliced into its
encoded bytes; nodes are decoded only where the structure changes. A node that is written and then
absorbed within the same batch leaves a gap in the ids and nothing else.

The result is a function of the trie's content alone: the same keys and values give the same root
in whatever order and batches they came.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from p2p_aios.errors import Invalid
from p2p_aios.trie.nodes import (
    HASH_BYTES,
    ID_BYTES,
    PATH_BYTES_MAX,
    SLOTS,
    Branch,
    Codec,
    Extension,
    Leaf,
    Node,
    Read,
    load_id,
    nibbles_of,
    open_node,
)

Entries = Sequence[tuple[bytes, bytes | None]]
"""(key in nibbles, value or None to delete), ascending."""


@dataclass(frozen=True, slots=True)
class Change:
    """What an update did; nothing is stored before the caller stores it."""

    root: bytes | None
    """Reference of the new root."""
    nodes: dict[bytes, bytes]
    """New nodes: append id to stored form, ascending."""
    stale: list[bytes]
    """Ids of nodes the new root no longer reaches, exactly."""
    next_id: int
    """Ids from here on are unused."""


def update(
    codec: Codec,
    read: Read,
    root: bytes | None,
    items: Mapping[bytes, bytes | None],
    next_id: int,
) -> Change:
    """Set each path of `items` to its value, or delete it where that is None.

    Deleting an absent path, or writing the value that is there, changes nothing. Raises Invalid
    (`path_too_long`, and what the codec refuses) and Corrupt for a missing node; in either case
    nothing has happened.
    """
    for path in items:
        if len(path) > PATH_BYTES_MAX:
            raise Invalid("path_too_long", f"a path has {len(path)} bytes")
    entries = [(nibbles_of(path), items[path]) for path in sorted(items)]
    work = _Update(codec, read, next_id)
    if entries:
        root = work.subtree(root, entries, 0, len(entries), 0)
    return Change(root, work.nodes, work.stale, work.next_id)


class _Update:
    """One batch in progress. Every method takes and returns references; None is empty."""

    __slots__ = ("codec", "next_id", "nodes", "read", "stale")

    def __init__(self, codec: Codec, read: Read, next_id: int) -> None:
        self.codec = codec
        self.read = read
        self.next_id = next_id
        self.nodes: dict[bytes, bytes] = {}
        self.stale: list[bytes] = []

    def subtree(
        self, reference: bytes | None, entries: Entries, low: int, high: int, depth: int
    ) -> bytes | None:
        """Apply entries[low:high], which share their first `depth` nibbles with the subtree."""
        if reference is None:
            return self.build(_living(entries, low, high), depth)
        stored = self.load(reference)
        if self.codec.is_branch(stored):
            return self.branch(reference, stored, entries, low, high, depth)
        key, value = entries[low]
        if high == low + 1 and value is not None:
            encoded = self.codec.revalue(stored, key[depth:], value)
            if encoded is not None:
                return self.replace(reference, stored, encoded)
        node = open_node(self.codec, stored)
        if isinstance(node, Leaf):
            return self.leaf(reference, node, entries, low, high, depth)
        assert isinstance(node, Extension)
        return self.extension(reference, node, entries, low, high, depth)

    def branch(
        self, reference: bytes, stored: bytes, entries: Entries, low: int, high: int, depth: int
    ) -> bytes | None:
        ends_here = len(entries[low][0]) == depth
        first = low
        low += ends_here
        changes: list[tuple[int, bytes | None]] = []
        shrinks = False
        child = self.codec.child
        while low < high:
            slot = entries[low][0][depth]
            end = low + 1
            while end < high and entries[end][0][depth] == slot:
                end += 1
            old = child(stored, slot)
            new = self.subtree(old, entries, low, end, depth + 1)
            if new != old:
                changes.append((slot, new))
                shrinks = shrinks or new is None
            low = end
        if ends_here:
            return self.rebuild(reference, stored, changes, entries[first])
        if not changes:
            return reference
        if shrinks:
            return self.rebuild(reference, stored, changes, None)
        self.drop(reference)
        return self.put(*self.codec.splice(stored, changes))  # type: ignore[arg-type]

    def rebuild(
        self,
        reference: bytes,
        stored: bytes,
        changes: Sequence[tuple[int, bytes | None]],
        ending: tuple[bytes, bytes | None] | None,
    ) -> bytes | None:
        """A branch whose value changes or which loses children; it may cease to be one."""
        node = open_node(self.codec, stored)
        assert isinstance(node, Branch)
        value = node.value if ending is None else ending[1]
        if not changes and value == node.value:
            return reference
        self.drop(reference)
        children = list(node.children)
        for slot, child in changes:
            children[slot] = child
        present = [(slot, child) for slot, child in enumerate(children) if child is not None]
        if len(present) + (value is not None) > 1:
            return self.write(Branch(tuple(children), value))
        if value is not None:
            return self.write(Leaf(b"", value))
        if not present:
            return None
        slot, last = present[0]
        return self.join(bytes((slot,)), last)

    def replace(self, reference: bytes, stored: bytes, encoded: bytes) -> bytes:
        """A leaf whose value alone may change; a leaf is stored as it is encoded."""
        if encoded == stored:
            return reference
        self.drop(reference)
        return self.put(encoded, b"")

    def leaf(
        self, reference: bytes, node: Leaf, entries: Entries, low: int, high: int, depth: int
    ) -> bytes | None:
        """A leaf that is deleted, joined by others, or left alone."""
        old_key = entries[low][0][:depth] + node.path
        merged = _living(entries, low, high)
        if all(entries[index][0] != old_key for index in range(low, high)):
            merged.append((old_key, node.value))
            merged.sort()
        if merged == [(old_key, node.value)]:
            return reference
        self.drop(reference)
        return self.build(merged, depth)

    def extension(
        self, reference: bytes, node: Extension, entries: Entries, low: int, high: int, depth: int
    ) -> bytes | None:
        end = depth + len(node.path)
        if entries[low][0][depth:end] == node.path == entries[high - 1][0][depth:end]:
            child = self.subtree(node.child, entries, low, high, end)
            if child == node.child:
                return reference
            self.drop(reference)
            return self.join(node.path, child)
        # Deleting what is not there must not fork anything.
        real = [e for e in entries[low:high] if e[1] is not None or e[0][depth:end] == node.path]
        if not real:
            return reference
        if all(key[depth:end] == node.path for key, _ in real):
            return self.extension(reference, node, real, 0, len(real), depth)
        return self.fork(reference, node, real, depth)

    def fork(self, reference: bytes, node: Extension, entries: Entries, depth: int) -> bytes | None:
        """Part an extension where entries leave it, and apply them to the branch there."""
        self.drop(reference)
        shared = min(
            _common(node.path, entries[0][0][depth:]), _common(node.path, entries[-1][0][depth:])
        )
        tail = node.path[shared + 1 :]
        children: list[bytes | None] = [None] * SLOTS
        slot = node.path[shared]
        children[slot] = self.write(Extension(tail, node.child)) if tail else node.child
        # A branch with one child is no legal node: it exists only until the entries are applied.
        forked = self.write(Branch(tuple(children), None))
        grown = self.subtree(forked, entries, 0, len(entries), depth + shared)
        return self.join(node.path[:shared], grown)

    def join(self, prefix: bytes, reference: bytes | None) -> bytes | None:
        """The subtree `reference` with `prefix` before its path."""
        if reference is None or not prefix:
            return reference
        node = open_node(self.codec, self.load(reference))
        if isinstance(node, Branch):
            return self.write(Extension(prefix, reference))
        self.drop(reference)
        if isinstance(node, Leaf):
            return self.write(Leaf(prefix + node.path, node.value))
        assert isinstance(node, Extension)
        return self.write(Extension(prefix + node.path, node.child))

    def build(self, entries: Sequence[tuple[bytes, bytes]], depth: int) -> bytes | None:
        """A new subtree of entries that share their first `depth` nibbles."""
        if not entries:
            return None
        first, value = entries[0]
        if len(entries) == 1:
            return self.write(Leaf(first[depth:], value))
        fork = depth + _common(first[depth:], entries[-1][0][depth:])
        children: list[bytes | None] = [None] * SLOTS
        ending = value if len(first) == fork else None
        low = 0 if ending is None else 1
        while low < len(entries):
            slot = entries[low][0][fork]
            end = low + 1
            while end < len(entries) and entries[end][0][fork] == slot:
                end += 1
            children[slot] = self.build(entries[low:end], fork + 1)
            low = end
        branch = self.write(Branch(tuple(children), ending))
        return self.write(Extension(first[depth:fork], branch)) if fork > depth else branch

    def write(self, node: Node) -> bytes:
        return self.put(*self.codec.encode(node))

    def put(self, encoded: bytes, ids: bytes) -> bytes:
        link = self.codec.link(encoded)
        if len(link) < HASH_BYTES:
            return link
        node_id = self.next_id.to_bytes(ID_BYTES, "big")
        self.next_id += 1
        self.nodes[node_id] = encoded + ids
        return link + node_id

    def drop(self, reference: bytes) -> None:
        """The node is no longer part of the trie."""
        if len(reference) < HASH_BYTES:
            return
        node_id = reference[-ID_BYTES:]
        if self.nodes.pop(node_id, None) is None:
            self.stale.append(node_id)

    def load(self, reference: bytes) -> bytes:
        if len(reference) < HASH_BYTES:
            return reference
        node_id = reference[-ID_BYTES:]
        return self.nodes.get(node_id) or load_id(self.read, node_id)


def _living(entries: Entries, low: int, high: int) -> list[tuple[bytes, bytes]]:
    return [(key, value) for key, value in entries[low:high] if value is not None]


def _common(a: bytes, b: bytes) -> int:
    """Length of the common prefix."""
    for index, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return index
    return min(len(a), len(b))
