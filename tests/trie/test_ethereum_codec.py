"""The same trie with Ethereum's codec gives Ethereum's roots: official vectors and py-trie.

The codec is RLP + keccak-256 (Yellow Paper, appendices B and D): nodes shorter than 32 bytes are
embedded in their parent.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import rlp
from Crypto.Hash import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from rlp.exceptions import RLPException
from trie import HexaryTrie

from p2p_aios.errors import Invalid
from p2p_aios.trie.bulk import update
from p2p_aios.trie.lookup import items as trie_items
from p2p_aios.trie.lookup import lookup, walk
from p2p_aios.trie.nodes import (
    ID_BYTES,
    Branch,
    Extension,
    Leaf,
    link_of,
    pack_path,
    root_hash,
    unpack_path,
)
from p2p_aios.trie.proof import prove, verify_proof


def keccak256(data: bytes) -> bytes:
    return keccak.new(digest_bits=256, data=data).digest()


class EthereumCodec:
    def encode(self, node):
        if isinstance(node, Leaf):
            return rlp.encode([pack_path(node.path, True), node.value]), b""
        if isinstance(node, Extension):
            path = pack_path(node.path, False)
            return rlp.encode([path, self._item(node.child)]), self._id(node.child)
        children = [self._item(child) for child in node.children]
        ids = b"".join(self._id(child) for child in node.children)
        return rlp.encode([*children, node.value or b""]), ids

    def _item(self, reference):
        if reference is None:
            return b""
        link = link_of(reference)
        return rlp.decode(link) if len(link) < 32 else link

    def _id(self, reference):
        return b"" if reference is None or len(reference) < 32 else reference[-ID_BYTES:]

    def decode(self, encoded, ids):
        try:
            parts = rlp.decode(encoded)
        except RLPException as error:
            raise Invalid("node_malformed", str(error)) from None
        unused = [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]

        def reference(item):
            if isinstance(item, list):
                return rlp.encode(item)
            if not item:
                return None
            return item + (unused.pop(0) if unused else b"")

        if not isinstance(parts, list) or len(parts) not in (2, 17):
            raise Invalid("node_malformed", "neither 2 nor 17 items")
        if len(parts) == 17:
            return Branch(tuple(reference(item) for item in parts[:16]), parts[16] or None)
        path, is_leaf = unpack_path(parts[0])
        return Leaf(path, parts[1]) if is_leaf else Extension(path, reference(parts[1]))

    def split(self, stored):
        _, _, length, start = rlp.codec.consume_length_prefix(stored, 0)
        return stored[: start + length], stored[start + length :]

    def link(self, encoded):
        return encoded if len(encoded) < 32 else keccak256(encoded)

    def root_hash(self, link):
        if link is None:
            return keccak256(b"\x80")
        return link if len(link) == 32 else keccak256(link)

    def totals(self, _link):
        return ()

    def revalue(self, stored, path, value):
        node = self.decode(*self.split(stored))
        is_it = isinstance(node, Leaf) and node.path == path
        return self.encode(Leaf(path, value))[0] if is_it else None

    def is_branch(self, stored):
        return isinstance(self.decode(*self.split(stored)), Branch)

    def child(self, stored, slot):
        return self.decode(*self.split(stored)).children[slot]

    def splice(self, stored, changes):
        node = self.decode(*self.split(stored))
        children = list(node.children)
        for slot, reference in changes:
            children[slot] = reference
        return self.encode(Branch(tuple(children), node.value))


CODEC = EthereumCodec()


class World:
    """A trie in a dictionary, with its stale nodes dropped at once."""

    def __init__(self):
        self.nodes: dict[bytes, bytes] = {}
        self.root: bytes | None = None
        self.next_id = 1

    def update(self, batch):
        change = update(CODEC, self.nodes.get, self.root, batch, self.next_id)
        self.root, self.next_id = change.root, change.next_id
        self.nodes.update(change.nodes)
        for stale in change.stale:
            del self.nodes[stale]

    @property
    def hash(self):
        return root_hash(CODEC, self.root)


def as_bytes(text):
    if text is None:
        return None
    return bytes.fromhex(text[2:]) if text.startswith("0x") else text.encode()


def check_everything(world: World, expected: dict[bytes, bytes]) -> None:
    assert dict(trie_items(CODEC, world.nodes.get, world.root)) == expected
    visited = list(walk(CODEC, world.nodes.get, world.root, checked=True))
    assert {node_id for _, _, node_id in visited if node_id} == set(world.nodes)
    for path, value in expected.items():
        assert lookup(CODEC, world.nodes.get, world.root, path) == value
        proof = prove(CODEC, world.nodes.get, world.root, path)
        assert verify_proof(CODEC, world.hash, path, proof) == value


VECTORS = [
    ("trietest.json", False),
    ("trieanyorder.json", False),
    ("hex_encoded_securetrie_test.json", True),
]


def load(shared: Path, name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((shared / "vectors" / "ethereum-trie" / name).read_text())
    return loaded


@pytest.mark.parametrize(("name", "secure"), VECTORS)
@pytest.mark.parametrize("batch_size", [1, 3, 1000])
def test_official_vectors(shared: Path, name: str, secure: bool, batch_size: int) -> None:
    for title, case in load(shared, name).items():
        given_items = case["in"] if isinstance(case["in"], list) else list(case["in"].items())
        pairs = [(as_bytes(key), as_bytes(value)) for key, value in given_items]
        if secure:
            pairs = [(keccak256(key), value) for key, value in pairs]
        any_order = not isinstance(case["in"], list)
        orders = itertools.islice(itertools.permutations(pairs), 24) if any_order else [pairs]
        for order in orders:
            world = World()
            for at in range(0, len(order), batch_size):
                world.update(dict(order[at : at + batch_size]))
            assert "0x" + world.hash.hex() == case["root"], title
        check_everything(world, {key: value for key, value in dict(pairs).items() if value})


def test_official_order(shared: Path) -> None:
    """Items come in the order in which Ethereum's vectors name the neighbours of a key."""
    for case in load(shared, "trietestnextprev.json").values():
        world = World()
        world.update({key.encode(): b"value" for key in case["in"]})
        found = [path.decode() for path, _ in trie_items(CODEC, world.nodes.get, world.root)]
        for key, before, after in case["tests"]:
            assert ([""] + [each for each in found if each < key])[-1] == before
            assert [*[each for each in found if each > key], ""][0] == after


KEYS = st.binary(max_size=4) | st.binary(min_size=32, max_size=32)
BATCHES = st.lists(
    st.dictionaries(KEYS, st.none() | st.binary(min_size=1, max_size=40), max_size=25),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(BATCHES)
def test_agrees_with_py_trie(batches: list[dict[bytes, bytes | None]]) -> None:
    """Invariant: after any batches root, content and stored nodes are those of py-trie."""
    world, peer = World(), HexaryTrie({})
    expected: dict[bytes, bytes] = {}
    for batch in batches:
        world.update(batch)
        for key, value in batch.items():
            if value is None:
                peer.delete(key)
                expected.pop(key, None)
            else:
                peer.set(key, value)
                expected[key] = value
        assert world.hash == peer.root_hash
    check_everything(world, expected)
