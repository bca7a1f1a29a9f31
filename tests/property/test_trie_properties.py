"""Properties of the chain's tries that hold whatever is written to them, in whatever batches."""

import hashlib

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_aios.errors import Invalid
from p2p_aios.trie.bulk import Change, update
from p2p_aios.trie.codec import PASH_CODEC, STATE_CODEC, NodeCodec
from p2p_aios.trie.lookup import draw, items, lookup, walk
from p2p_aios.trie.nodes import link_of, root_hash
from p2p_aios.trie.proof import check_proof, prove, verify_proof

Content = dict[bytes, bytes]
Batches = list[dict[bytes, bytes | None]]


class World:
    """A trie in a dictionary whose stale nodes are dropped at once."""

    def __init__(self, codec: NodeCodec) -> None:
        self.codec = codec
        self.nodes: dict[bytes, bytes] = {}
        self.root: bytes | None = None
        self.next_id = 1
        self.content: Content = {}

    def update(self, batch: dict[bytes, bytes | None]) -> Change:
        change = update(self.codec, self.nodes.get, self.root, batch, self.next_id)
        assert all(self.next_id <= int.from_bytes(node, "big") for node in change.nodes)
        self.root, self.next_id = change.root, change.next_id
        assert len(set(change.stale)) == len(change.stale)
        assert not set(change.nodes) & set(self.nodes)
        self.nodes.update(change.nodes)
        for stale in change.stale:
            del self.nodes[stale]
        for path, value in batch.items():
            if value is None:
                self.content.pop(path, None)
            else:
                self.content[path] = value
        return change


# Paths from a narrow alphabet fork, extend and collapse far more than hashes do.
NARROW = st.lists(st.sampled_from([0x00, 0x01, 0x10, 0xFF]), min_size=3, max_size=3).map(bytes)
PATHS = NARROW | st.binary(min_size=3, max_size=3)
RAGGED = st.lists(st.sampled_from([0x00, 0x01, 0x10, 0xFF]), max_size=4).map(bytes)
WEIGHED = st.tuples(
    st.integers(0, 2**64 - 1),
    st.integers(0, 2**64 - 1) | st.integers(2**64, 2**100).map(lambda n: n.to_bytes(16, "big")),
    st.binary(max_size=4),
).map(lambda record: cbor2.dumps(record, canonical=True))


def batches_of(paths: st.SearchStrategy[bytes], values: st.SearchStrategy[bytes]):
    batch = st.dictionaries(paths, st.none() | values, max_size=20)
    return st.lists(batch, min_size=1, max_size=6)


def build(codec: NodeCodec, batches: Batches) -> World:
    world = World(codec)
    for batch in batches:
        world.update(batch)
    return world


@settings(max_examples=200, deadline=None)
@given(batches_of(PATHS, st.binary(max_size=40)) | batches_of(RAGGED, st.binary(max_size=40)))
def test_eq_3_batches_equal_a_fresh_build(batches: Batches) -> None:
    """T = PatriciaTrie({b_1 … b_n}). Invariant: root and content depend on nothing but what was
    written last at each path."""
    world = build(STATE_CODEC, batches)
    fresh = build(STATE_CODEC, [dict(world.content)])
    assert root_hash(STATE_CODEC, world.root) == root_hash(STATE_CODEC, fresh.root)
    found = list(items(STATE_CODEC, world.nodes.get, world.root))
    assert found == sorted(world.content.items())
    for path in [*world.content, b"", b"\x00\x00\x02"]:
        value = lookup(STATE_CODEC, world.nodes.get, world.root, path)
        assert value == world.content.get(path)


@settings(max_examples=200, deadline=None)
@given(batches_of(PATHS, st.binary(max_size=4)))
def test_stale_lists_are_exact(batches: Batches) -> None:
    """Invariant: dropping stale ids leaves exactly the reachable nodes, with right hashes."""
    world = World(STATE_CODEC)
    for batch in batches:
        world.update(batch)
        visited = list(walk(STATE_CODEC, world.nodes.get, world.root, checked=True))
        assert {node_id for _, _, node_id in visited} == set(world.nodes)


@settings(max_examples=100, deadline=None)
@given(batches_of(PATHS, st.binary(max_size=4)))
def test_repeating_a_batch_changes_nothing(batches: Batches) -> None:
    world = build(STATE_CODEC, batches)
    again = world.update(batches[-1])
    assert (again.nodes, again.stale) == ({}, [])


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(st.just(STATE_CODEC), batches_of(PATHS, st.binary(max_size=40)))
    | st.tuples(st.just(PASH_CODEC), batches_of(PATHS, WEIGHED)),
    PATHS,
    st.data(),
)
def test_proofs_verify_and_mutations_do_not(
    written: tuple[NodeCodec, Batches], stranger: bytes, data: st.DataObject
) -> None:
    """Invariant: a proof shows the content and nothing else; no changed proof is accepted."""
    codec, batches = written
    world = build(codec, batches)
    root = root_hash(codec, world.root)
    path = data.draw(st.sampled_from([stranger, *world.content]))
    proof = prove(codec, world.nodes.get, world.root, path)
    assert verify_proof(codec, root, path, proof) == world.content.get(path)
    for changed in mutations(proof, data):
        with pytest.raises(Invalid):
            verify_proof(codec, root, path, changed)
    wrong = hashlib.sha256(root).digest()
    with pytest.raises(Invalid):
        verify_proof(codec, wrong, path, proof)


def mutations(proof: tuple[bytes, ...], data: st.DataObject) -> list[tuple[bytes, ...]]:
    changed = [(*proof, b""), (*proof, proof[-1] if proof else b"\xf6")]
    if not proof:
        return changed
    at = data.draw(st.integers(0, len(proof) - 1))
    node = bytearray(proof[at])
    node[data.draw(st.integers(0, len(node) - 1))] ^= data.draw(st.integers(1, 255))
    return [
        *changed,
        proof[:-1],
        proof[:at] + proof[at + 1 :],
        (*proof[:at], bytes(node), *proof[at + 1 :]),
        (*proof[:at], proof[at][:-1], *proof[at + 1 :]),
        (*proof[:at], proof[at], proof[at], *proof[at + 1 :]),
    ]


@settings(max_examples=150, deadline=None)
@given(batches_of(PATHS, WEIGHED), PATHS)
def test_sums_equal_a_brute_force_total(batches: Batches, stranger: bytes) -> None:
    """Invariant: the root's sums are those of the content, and every proof shows them."""
    world = build(PASH_CODEC, batches)
    weights = {path: PASH_CODEC.weigh(value, 2) for path, value in world.content.items()}
    expected = tuple(sum(weight[which] for weight in weights.values()) for which in (0, 1))
    link = None if world.root is None else link_of(world.root)
    assert PASH_CODEC.totals(link) == expected
    root = root_hash(PASH_CODEC, world.root)
    for path in [*list(world.content)[:3], stranger]:
        proof = prove(PASH_CODEC, world.nodes.get, world.root, path)
        proved = check_proof(PASH_CODEC, root, path, proof)
        assert proved.value == world.content.get(path)
        assert proved.totals == expected
    assert {i for _, _, i in walk(PASH_CODEC, world.nodes.get, world.root, checked=True)} == set(
        world.nodes
    )


@settings(max_examples=100, deadline=None)
@given(batches_of(PATHS, WEIGHED), st.integers(0, 1), st.data())
def test_a_draw_finds_the_leaf_that_holds_the_point(
    batches: Batches, which: int, data: st.DataObject
) -> None:
    world = build(PASH_CODEC, batches)
    total = sum(PASH_CODEC.weigh(value, 2)[which] for value in world.content.values())
    with pytest.raises(Invalid, match="point_out_of_range"):
        draw(PASH_CODEC, world.nodes.get, world.root, which, total)
    if not total:
        return
    point = data.draw(st.integers(0, total - 1))
    rest = point
    for path in sorted(world.content):
        width = PASH_CODEC.weigh(world.content[path], 2)[which]
        if rest < width:
            break
        rest -= width
    found = draw(PASH_CODEC, world.nodes.get, world.root, which, point)
    assert found == (path, world.content[path])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4), st.binary(max_size=4))
def test_garbage_is_refused_with_a_code(nodes: list[bytes], path: bytes) -> None:
    """Fuzz invariant: whatever arrives as a proof, the verifier raises Invalid and nothing else."""
    for codec in (STATE_CODEC, PASH_CODEC):
        with pytest.raises(Invalid):
            verify_proof(codec, hashlib.sha256(b"root").digest(), path, nodes)
