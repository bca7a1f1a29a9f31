"""Merkle lists against the recursive definition of RFC 6962 §2.1."""

import hashlib

import pytest

from p2p_aios.crypto.merkle import is_in_merkle, merkle_proof, merkle_root
from p2p_aios.errors import InvariantBroken
from p2p_aios.units import Hash

RFC_LEAVES = [
    bytes.fromhex(text)
    for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                 "606162636465666768696a6b6c6d6e6f")
]  # fmt: skip
RFC_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Roots of the first 1..8 of these leaves, as Certificate Transparency's own tests have them."""


def root_by_definition(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = root_by_definition(leaves[:split]), root_by_definition(leaves[split:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def test_certificate_transparency_roots() -> None:
    for count, root in enumerate(RFC_ROOTS, start=1):
        assert merkle_root(RFC_LEAVES[:count]).hex() == root


@pytest.mark.parametrize("count", [*range(20), 31, 32, 33, 100])
def test_roots_and_proofs_follow_the_definition(count: int) -> None:
    leaves = [bytes([n]) for n in range(count)]
    root = merkle_root(leaves)
    assert root == root_by_definition(leaves)
    for index, leaf in enumerate(leaves):
        path = merkle_proof(leaves, index)
        assert is_in_merkle(root, leaf, index, count, path)
        assert not is_in_merkle(root, leaf + b"x", index, count, path)
        assert not is_in_merkle(root, leaf, index, count, (*path, Hash(bytes(32))))
        assert not is_in_merkle(root, leaf, count, count, path)
        assert not is_in_merkle(root, leaf, -1, count, path)
        if path:
            assert not is_in_merkle(root, leaf, index, count, path[:-1])
            assert not is_in_merkle(Hash(bytes(32)), leaf, index, count, path)
        for other in range(count):
            if other != index:
                assert not is_in_merkle(root, leaf, other, count, path)


def test_an_inner_node_cannot_stand_for_a_leaf() -> None:
    leaves = [b"a", b"b", b"c", b"d"]
    halves = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves[:2]]
    forged = halves[0] + halves[1]
    path = merkle_proof(leaves, 0)[1:]
    assert not is_in_merkle(merkle_root(leaves), forged, 0, 2, path)


def test_a_proof_of_a_leaf_that_is_not_there_is_our_own_fault() -> None:
    with pytest.raises(InvariantBroken):
        merkle_proof([b"a"], 1)


def test_under_a_wrong_count_only_the_leaf_is_proved() -> None:
    root, path = merkle_root([b"a", b"b"]), merkle_proof([b"a", b"b"], 1)
    assert is_in_merkle(root, b"b", 2, 3, path)
    assert not is_in_merkle(root, b"c", 2, 3, path)
