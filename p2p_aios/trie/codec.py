"""The AIOS codec: sha256 over canonical CBOR nodes, with any number of sums beside each hash.

    leaf       [0, packed path, value]
    extension  [1, packed path, link]
    branch     [2, bitmap, links] or [2, bitmap, links, value]
    root       [3, link]                 only where there are sums
    empty      null

A link is the child's hash and then each of its sums, 16 bytes unsigned big-endian. `bitmap` is two
bytes, bit n for slot n; `links` is one byte string of the occupied slots' links. Constant widths
are what lets `splice` replace a child in place. A trie without sums is known by its root node's
hash; with sums the root's link is hashed, so the root commits to the totals as well (paper §2.3.1:
hash says what, pash says how much it is worth).
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from p2p_aios.codec import cbor
from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import Invalid, invariant
from p2p_aios.trie.nodes import (
    HASH_BYTES,
    ID_BYTES,
    SLOTS,
    Branch,
    Changes,
    Extension,
    Leaf,
    Node,
    pack_path,
    unpack_path,
)
from p2p_aios.units import Hash

SUM_BYTES: Final = 16
SUM_MAX: Final = 2 ** (8 * SUM_BYTES) - 1
VALUE_BYTES_MAX: Final = 1 << 20
"""Largest value of a leaf."""
NODE_BYTES_MAX: Final = VALUE_BYTES_MAX + 4096

_LEAF, _EXTENSION, _BRANCH, _ROOT = range(4)
_LEAF_HEAD: Final = bytes((0x83, _LEAF))
# A branch's encoding begins: array head, kind, head of the bitmap, bitmap (2), head of the links.
_BITMAP_AT: Final = 3
_LINKS_AT: Final = 5


def weigh_record(value: bytes, count: int) -> tuple[int, ...]:
    """The first `count` items of a record's canonical CBOR array, as what the record weighs.

    Each is an unsigned integer, or 16 bytes big-endian where it may exceed 64 bits.
    Raises Invalid(`leaf_unweighed`).
    """
    try:
        record = cbor.decode(value, VALUE_BYTES_MAX)
    except Invalid as error:
        raise Invalid("leaf_unweighed", error.message) from None
    if type(record) is not list or len(record) < count:
        raise Invalid("leaf_unweighed", f"a leaf's value is not an array of {count} sums or more")
    return tuple(_weight(item) for item in record[:count])


def _weight(item: Any) -> int:
    if type(item) is int and item >= 0:
        return item
    if type(item) is bytes and len(item) == SUM_BYTES:
        return int.from_bytes(item, "big")
    raise Invalid("leaf_unweighed", "a sum is an unsigned integer or 16 bytes")


@dataclass(frozen=True, slots=True)
class NodeCodec:
    """`p2p_aios.trie.nodes.Codec` of the chain's own tries."""

    sums: int = 0
    """Sums per link."""
    weigh: Callable[[bytes, int], tuple[int, ...]] = weigh_record
    """(value of a leaf, number of sums) to the leaf's sums."""
    link_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "link_bytes", HASH_BYTES + SUM_BYTES * self.sums)

    def encode(self, node: Node) -> tuple[bytes, bytes]:
        """Encoding and children's ids; raises Invalid(`value_too_large`)."""
        if isinstance(node, Leaf):
            _check_size(node.value)
            return cbor.encode((_LEAF, pack_path(node.path, True), node.value)), b""
        if isinstance(node, Extension):
            link, node_id = node.child[:-ID_BYTES], node.child[-ID_BYTES:]
            return cbor.encode((_EXTENSION, pack_path(node.path, False), link)), node_id
        assert isinstance(node, Branch)
        bitmap, children = 0, []
        for slot, child in enumerate(node.children):
            if child is not None:
                bitmap |= 1 << slot
                children.append(child)
        links = b"".join([child[:-ID_BYTES] for child in children])
        parts = [_BRANCH, bitmap.to_bytes(2, "big"), links]
        if node.value is not None:
            _check_size(node.value)
            parts.append(node.value)
        return cbor.encode(parts), b"".join([child[-ID_BYTES:] for child in children])

    def decode(self, encoded: bytes, ids: bytes) -> Node:
        """Raises Invalid: `node_malformed`, `node_not_canonical`, `cbor_malformed`, `too_large`."""
        parts = cbor.decode_lenient(encoded, NODE_BYTES_MAX)
        if type(parts) is not list or len(parts) not in (3, 4) or type(parts[0]) is not int:
            raise _malformed("it is not an array of 3 or 4")
        if not all(type(part) is bytes for part in parts[1:]):
            raise _malformed("a part is not a byte string")
        if cbor.encode(parts) != encoded:
            raise Invalid("node_not_canonical", "a trie node's bytes are not its one encoding")
        kind, first, second = parts[:3]
        if kind == _BRANCH:
            return self._branch(first, second, parts[3] if len(parts) == 4 else None, ids)
        if len(parts) != 3:
            raise _malformed("only a branch has four parts")
        path, is_leaf = unpack_path(first)
        if kind == _LEAF and is_leaf:
            return Leaf(path, second)
        if kind == _EXTENSION and not is_leaf and path and len(second) == self.link_bytes:
            return Extension(path, second + ids[:ID_BYTES])
        raise _malformed("its kind and its path or link disagree")

    def _branch(self, bits: bytes, links: bytes, value: bytes | None, ids: bytes) -> Branch:
        bitmap, width = int.from_bytes(bits, "big"), self.link_bytes
        occupied = [slot for slot in range(SLOTS) if bitmap >> slot & 1]
        if len(bits) != 2 or not occupied or len(links) != width * len(occupied):
            raise _malformed("a branch's bitmap and links disagree")
        children: list[bytes | None] = [None] * SLOTS
        at = id_at = 0
        for slot in occupied:
            children[slot] = links[at : at + width] + ids[id_at : id_at + ID_BYTES]
            at, id_at = at + width, id_at + ID_BYTES
        return Branch(tuple(children), value)

    def split(self, stored: bytes) -> tuple[bytes, bytes]:
        kind = stored[1]
        if kind == _LEAF:
            return stored, b""
        if kind == _BRANCH:
            count = (stored[_BITMAP_AT] << 8 | stored[_BITMAP_AT + 1]).bit_count()
            cut = len(stored) - ID_BYTES * count
        else:
            cut = len(stored) - ID_BYTES
        return stored[:cut], stored[cut:]

    def link(self, encoded: bytes) -> bytes:
        """Raises Invalid, where there are sums: `sum_overflow`, `leaf_unweighed`, as `decode`."""
        digest = hashlib.sha256(encoded).digest()
        if not self.sums:
            return digest
        sums = self._sums_of(self.decode(encoded, b""))
        if any(total > SUM_MAX for total in sums):
            raise Invalid("sum_overflow", "a sum exceeds 128 bits")
        return digest + b"".join([total.to_bytes(SUM_BYTES, "big") for total in sums])

    def _sums_of(self, node: Node) -> list[int]:
        if isinstance(node, Leaf):
            return list(self._weights(node.value))
        if isinstance(node, Extension):
            return list(self.totals(node.child))
        assert isinstance(node, Branch)
        rows = [self.totals(child) for child in node.children if child is not None]
        if node.value is not None:
            rows.append(self._weights(node.value))
        return [sum(column) for column in zip(*rows, strict=True)]

    def _weights(self, value: bytes) -> tuple[int, ...]:
        weights = self.weigh(value, self.sums)
        invariant(
            len(weights) == self.sums and all(weight >= 0 for weight in weights),
            "a leaf weighs one unsigned number per sum",
        )
        return weights

    def totals(self, link: bytes | None) -> tuple[int, ...]:
        if link is None:
            return (0,) * self.sums
        ends = range(HASH_BYTES, self.link_bytes, SUM_BYTES)
        return tuple([int.from_bytes(link[at : at + SUM_BYTES], "big") for at in ends])

    def root_hash(self, link: bytes | None) -> Hash:
        if link is None:
            link = sha256(cbor.encode(None)) + bytes(SUM_BYTES * self.sums)
        return sha256(cbor.encode((_ROOT, link))) if self.sums else Hash(link)

    def revalue(self, stored: bytes, path: bytes, value: bytes) -> bytes | None:
        """Raises Invalid(`value_too_large`)."""
        _check_size(value)
        head = _LEAF_HEAD + cbor.encode(pack_path(path, True))
        return head + cbor.encode(value) if stored.startswith(head) else None

    def is_branch(self, stored: bytes) -> bool:
        return stored[1] == _BRANCH

    def child(self, stored: bytes, slot: int) -> bytes | None:
        bitmap = stored[_BITMAP_AT] << 8 | stored[_BITMAP_AT + 1]
        if not bitmap >> slot & 1:
            return None
        index = (bitmap & ((1 << slot) - 1)).bit_count()
        width = self.link_bytes
        at = _links_start(stored) + width * index
        id_at = len(stored) - ID_BYTES * (bitmap.bit_count() - index)
        return stored[at : at + width] + stored[id_at : id_at + ID_BYTES]

    def splice(self, stored: bytes, changes: Changes) -> tuple[bytes, bytes]:
        bitmap = stored[_BITMAP_AT] << 8 | stored[_BITMAP_AT + 1]
        width, start = self.link_bytes, _links_start(stored)
        cut = len(stored) - ID_BYTES * bitmap.bit_count()
        encoded, ids = bytearray(stored[:cut]), bytearray(stored[cut:])
        for slot, reference in changes:
            if not bitmap >> slot & 1:
                return self._insert(stored, changes)
            index = (bitmap & ((1 << slot) - 1)).bit_count()
            at = start + width * index
            encoded[at : at + width] = reference[:-ID_BYTES]
            at = ID_BYTES * index
            ids[at : at + ID_BYTES] = reference[-ID_BYTES:]
        return bytes(encoded), bytes(ids)

    def _insert(self, stored: bytes, changes: Changes) -> tuple[bytes, bytes]:
        node = self.decode(*self.split(stored))
        assert isinstance(node, Branch)
        children = list(node.children)
        for slot, reference in changes:
            children[slot] = reference
        return self.encode(Branch(tuple(children), node.value))


def _links_start(stored: bytes) -> int:
    # The links' CBOR head: 0x58 and one length byte, or 0x59 and two. A link has 32 bytes or more,
    # so shorter heads do not occur, and 16 links of any sane width fit two bytes.
    return _LINKS_AT + (2 if stored[_LINKS_AT] == 0x58 else 3)


def _check_size(value: bytes) -> None:
    if len(value) > VALUE_BYTES_MAX:
        raise Invalid(
            "value_too_large", f"{len(value)} bytes where at most {VALUE_BYTES_MAX} are accepted"
        )


def _malformed(why: str) -> Invalid:
    return Invalid("node_malformed", f"a trie node is malformed: {why}")


STATE_CODEC: Final = NodeCodec()
"""The state trie: no sums."""
PASH_CODEC: Final = NodeCodec(sums=2)
"""The contribution trie: sums of pash and of influence, the first two items of each record."""
EMPTY_STATE_ROOT: Final = STATE_CODEC.root_hash(None)
"""sha256 of CBOR null."""
EMPTY_PASH_ROOT: Final = PASH_CODEC.root_hash(None)
"""sha256 of the root form of an empty trie whose totals are zero."""


def state_path(key: bytes) -> bytes:
    """Where a key lies in a trie: sha256(key), so that paths spread evenly and have one length."""
    return sha256(key)
