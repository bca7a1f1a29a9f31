"""The AIOS codec: its bytes are fixed for ever, its sums cannot be lied about."""

import hashlib

import cbor2
import pytest

from p2p_aios.errors import Corrupt, Invalid
from p2p_aios.trie.bulk import update
from p2p_aios.trie.codec import (
    EMPTY_PASH_ROOT,
    EMPTY_STATE_ROOT,
    PASH_CODEC,
    STATE_CODEC,
    SUM_MAX,
    VALUE_BYTES_MAX,
    NodeCodec,
    state_path,
)
from p2p_aios.trie.lookup import lookup, walk
from p2p_aios.trie.nodes import Branch, Extension, Leaf, link_of, root_hash
from p2p_aios.trie.proof import check_proof, prove, verify_proof


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def record(pash: int, influence: int) -> bytes:
    items = [n if n < 2**64 else n.to_bytes(16, "big") for n in (pash, influence)]
    return cbor2.dumps(items, canonical=True)


def test_empty_roots() -> None:
    assert sha256(b"\xf6") == EMPTY_STATE_ROOT
    assert sha256(b"\x82\x03\x58\x40" + sha256(b"\xf6") + bytes(32)) == EMPTY_PASH_ROOT
    assert root_hash(STATE_CODEC, None) == EMPTY_STATE_ROOT
    assert root_hash(PASH_CODEC, None) == EMPTY_PASH_ROOT


def test_bytes_of_a_small_trie() -> None:
    """Two paths that fork at their second nibble, written out by hand."""
    change = update(STATE_CODEC, {}.get, None, {b"\x12": b"a", b"\x13": b"b"}, 7)
    left, right = b"\x83\x00\x41\x20\x41a", b"\x83\x00\x41\x20\x41b"
    branch = b"\x83\x02\x42\x00\x0c\x58\x40" + sha256(left) + sha256(right)
    extension = b"\x83\x01\x41\x11\x58\x20" + sha256(branch)
    ids = [n.to_bytes(8, "big") for n in range(7, 12)]
    assert change.nodes == {
        ids[0]: left,
        ids[1]: right,
        ids[2]: branch + ids[0] + ids[1],
        ids[3]: extension + ids[2],
    }
    assert change.root == sha256(extension) + ids[3]
    assert change.next_id == 11


def test_golden_roots() -> None:
    """Roots of a thousand keys: a change here is a change of the chain's format."""
    paths = [state_path(n.to_bytes(4, "big")) for n in range(1000)]
    plain = update(STATE_CODEC, {}.get, None, {p: b"value" + p for p in paths}, 1)
    assert root_hash(STATE_CODEC, plain.root).hex() == GOLDEN_STATE_ROOT
    weights = {path: record(n, n * n) for n, path in enumerate(paths)}
    weighed = update(PASH_CODEC, {}.get, None, weights, 1)
    assert root_hash(PASH_CODEC, weighed.root).hex() == GOLDEN_PASH_ROOT


GOLDEN_STATE_ROOT = "442f721689178cd9f972b85aadf42069c0957a70f8d63b805fd853fd0fae3f4d"
GOLDEN_PASH_ROOT = "556bac556133e920e904a0c3673b66b29833265afe474ea05b0f100313331f36"


@pytest.mark.parametrize("codec", [STATE_CODEC, PASH_CODEC])
def test_encoding_and_decoding_agree(codec: NodeCodec) -> None:
    child = bytes(range(codec.link_bytes)) + (5).to_bytes(8, "big")
    for count in (1, 3, 4, 7, 8, 16):
        for value in (None, b"", b"v" * 300):
            node = Branch((child,) * count + (None,) * (16 - count), value)
            encoded, ids = codec.encode(node)
            assert codec.decode(encoded, ids) == node
            assert codec.split(encoded + ids) == (encoded, ids)
            assert cbor2.dumps(cbor2.loads(encoded), canonical=True) == encoded
    for other in (Leaf(b"", b""), Leaf(b"\x01\x02\x03", b"v"), Extension(b"\x0f", child)):
        encoded, ids = codec.encode(other)
        assert codec.decode(encoded, ids) == other
        assert codec.split(encoded + ids) == (encoded, ids)


@pytest.mark.parametrize("value", [None, b"here"])
@pytest.mark.parametrize("codec", [STATE_CODEC, PASH_CODEC])
def test_splicing_equals_encoding(codec: NodeCodec, value: bytes | None) -> None:
    def reference(n: int) -> bytes:
        return bytes([n]) * codec.link_bytes + n.to_bytes(8, "big")

    for occupied in (0b1000000000000001, 0b0101010101010101, 0xFFFF):
        children = [reference(n) if occupied >> n & 1 else None for n in range(16)]
        encoded, ids = codec.encode(Branch(tuple(children), value))
        for slots in ((0,), (15,), (1, 14), tuple(range(16))):
            expected = list(children)
            changes = [(slot, reference(100 + slot)) for slot in slots]
            for slot, new in changes:
                expected[slot] = new
            spliced = codec.splice(encoded + ids, changes)
            assert spliced == codec.encode(Branch(tuple(expected), value))
            assert [codec.child(b"".join(spliced), slot) for slot in range(16)] == expected


MALFORMED = {
    "not an array": b"\xf6",
    "unknown kind": b"\x83\x03\x41\x20\x41a",
    "leaf with an extension's path": b"\x83\x00\x41\x00\x41a",
    "extension with a leaf's path": b"\x83\x01\x41\x31\x58\x20" + bytes(32),
    "extension without a path": b"\x83\x01\x41\x00\x58\x20" + bytes(32),
    "extension with a short link": b"\x83\x01\x41\x11\x44" + bytes(4),
    "hex prefix beyond 3": b"\x83\x00\x41\x40\x41a",
    "filler nibble not zero": b"\x83\x00\x41\x21\x41a",
    "no hex prefix": b"\x83\x00\x40\x41a",
    "bitmap of one byte": b"\x83\x02\x41\x0c\x58\x40" + bytes(64),
    "bitmap of nothing": b"\x83\x02\x42\x00\x00\x40",
    "more links than bits": b"\x83\x02\x42\x00\x01\x58\x40" + bytes(64),
    "leaf of four": b"\x84\x00\x41\x20\x41a\x41b",
    "value is text": b"\x83\x00\x41\x20\x61a",
    "kind is a boolean": b"\x83\xf4\x41\x20\x41a",
}


@pytest.mark.parametrize("encoded", MALFORMED.values(), ids=MALFORMED)
def test_malformed_nodes_are_refused(encoded: bytes) -> None:
    with pytest.raises(Invalid, match="node_malformed"):
        verify_proof(STATE_CODEC, sha256(encoded), b"", [encoded])


def test_nodes_must_be_canonical() -> None:
    longer = b"\x83\x00\x58\x01\x20\x41a"
    with pytest.raises(Invalid, match="node_not_canonical"):
        verify_proof(STATE_CODEC, sha256(longer), b"", [longer])
    one_way = b"\x83\x02\x42\x00\x01\x58\x20" + bytes(32)
    with pytest.raises(Invalid, match="node_malformed"):
        verify_proof(STATE_CODEC, sha256(one_way), b"", [one_way])


def test_a_lie_about_sums_is_refused() -> None:
    """A node whose links claim other sums than lie below hashes well, and is still refused."""
    items = {bytes([n]): record(n, 10 * n) for n in (0x12, 0x23, 0x34)}
    change = update(PASH_CODEC, {}.get, None, items, 1)
    assert change.root is not None
    assert PASH_CODEC.totals(link_of(change.root)) == (
        0x12 + 0x23 + 0x34,
        10 * (0x12 + 0x23 + 0x34),
    )
    proof = prove(PASH_CODEC, change.nodes.get, change.root, b"\x12")
    node = PASH_CODEC.decode(proof[0], bytes(128))
    assert isinstance(node, Branch)
    child = node.children[1]
    assert child is not None
    more = child[:47] + bytes([child[47] + 1]) + child[48:]
    lied = PASH_CODEC.encode(Branch((None, more, *node.children[2:]), None))[0]
    root = PASH_CODEC.root_hash(PASH_CODEC.link(lied))
    with pytest.raises(Invalid, match="proof_link_mismatch"):
        check_proof(PASH_CODEC, root, b"\x12", [lied, *proof[1:]])


def test_sums_that_overflow_are_refused() -> None:
    items = {b"\x10": record(SUM_MAX, 0), b"\x20": record(0, 5)}
    change = update(PASH_CODEC, {}.get, None, items, 1)
    assert change.root is not None
    assert PASH_CODEC.totals(link_of(change.root)) == (SUM_MAX, 5)
    with pytest.raises(Invalid, match="sum_overflow"):
        update(PASH_CODEC, change.nodes.get, change.root, {b"\x30": record(1, 0)}, 9)


@pytest.mark.parametrize("value", [b"", b"\xf6", b"\x81\x01", b"\x82\x01\x20", b"\x82\x01\x41a"])
def test_leaves_without_weight_are_refused(value: bytes) -> None:
    with pytest.raises(Invalid, match="leaf_unweighed"):
        update(PASH_CODEC, {}.get, None, {b"\x10": value}, 1)


def test_bounds() -> None:
    with pytest.raises(Invalid, match="value_too_large"):
        update(STATE_CODEC, {}.get, None, {b"\x10": bytes(VALUE_BYTES_MAX + 1)}, 1)
    large = update(STATE_CODEC, {}.get, None, {b"\x10": bytes(VALUE_BYTES_MAX)}, 1)
    root = root_hash(STATE_CODEC, large.root)
    proof = prove(STATE_CODEC, large.nodes.get, large.root, b"\x10")
    assert verify_proof(STATE_CODEC, root, b"\x10", proof) == bytes(VALUE_BYTES_MAX)
    with pytest.raises(Invalid, match="path_too_long"):
        update(STATE_CODEC, {}.get, None, {bytes(129): b""}, 1)
    with pytest.raises(Invalid, match="path_too_long"):
        verify_proof(STATE_CODEC, root, bytes(129), proof)
    with pytest.raises(Invalid, match="proof_too_long"):
        verify_proof(STATE_CODEC, root, b"\x10", proof * 300)


def test_a_store_that_lies_is_corrupt() -> None:
    change = update(STATE_CODEC, {}.get, None, {b"\x12": b"a", b"\x13": b"b"}, 1)
    leaf_id = (1).to_bytes(8, "big")
    lost = {node_id: node for node_id, node in change.nodes.items() if node_id != leaf_id}
    with pytest.raises(Corrupt, match="trie_node_missing"):
        lookup(STATE_CODEC, lost.get, change.root, b"\x12")
    cut = {**change.nodes, leaf_id: b"\x83\x00\x41"}
    with pytest.raises(Corrupt, match="trie_node_damaged"):
        lookup(STATE_CODEC, cut.get, change.root, b"\x12")
    swapped = {**change.nodes, leaf_id: b"\x83\x00\x41\x20\x41x"}
    with pytest.raises(Corrupt, match="trie_node_damaged"):
        list(walk(STATE_CODEC, swapped.get, change.root, checked=True))
