"""Merkle lists and bech32m over arbitrary content."""

from hypothesis import given
from hypothesis import strategies as st

from p2p_aios.crypto.bech32m import decode_bech32m, encode_bech32m, from_groups, to_groups
from p2p_aios.crypto.merkle import is_in_merkle, merkle_proof, merkle_root
from p2p_aios.errors import Invalid
from p2p_aios.units import Hash

leaves_of = st.lists(st.binary(max_size=40), max_size=40)


@given(leaves_of, leaves_of)
def test_different_lists_have_different_roots(left: list[bytes], right: list[bytes]) -> None:
    assert (merkle_root(left) == merkle_root(right)) == (left == right)


@given(leaves_of.filter(bool), st.data())
def test_a_proof_holds_for_its_leaf_only(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, path = merkle_root(leaves), merkle_proof(leaves, index)
    assert is_in_merkle(root, leaves[index], index, len(leaves), path)
    other = data.draw(st.binary(max_size=70))
    assert is_in_merkle(root, other, index, len(leaves), path) == (other == leaves[index])


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(max_size=70),
    st.integers(-1, 70),
    st.integers(-1, 70),
    st.lists(st.binary(min_size=32, max_size=32), max_size=8),
)
def test_forged_proofs_fail(
    root: bytes, leaf: bytes, index: int, count: int, path: list[bytes]
) -> None:
    assert not is_in_merkle(Hash(root), leaf, index, count, [Hash(step) for step in path])


@given(st.binary(max_size=50))
def test_groups_are_read_back(data: bytes) -> None:
    assert from_groups(to_groups(data)) == data
    assert decode_bech32m(encode_bech32m("aios", to_groups(data[:40]))) == (
        "aios",
        to_groups(data[:40]),
    )


@given(st.text(max_size=100))
def test_any_text_is_bech32m_or_invalid(text: str) -> None:
    try:
        prefix, groups = decode_bech32m(text)
    except Invalid:
        return
    assert encode_bech32m(prefix, groups) == text.lower()
