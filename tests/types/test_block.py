"""Blocks, eq. (1): b_i = {Data_T, H(b_{i-1}), H(b_i), Timestamp, Nonce}."""

from dataclasses import fields, replace

import pytest

from p2p_aios.codec import schema
from p2p_aios.crypto.hashing import sha256
from p2p_aios.types.block import Header, block_hash, transactions_root
from p2p_aios.units import Address, Epoch, Hash, Height, Millis, View


def filled(byte: int) -> Hash:
    return Hash(bytes([byte]) * 32)


HEADER = Header(
    chain_id=filled(1),
    height=Height(7),
    epoch=Epoch(2),
    view=View(9),
    parent=filled(2),
    timestamp_ms=Millis(3_500),
    proposer=Address(b"\x03" * 20),
    reveal=filled(4),
    tx_root=transactions_root([b"first", b"second"]),
    receipts_root=filled(5),
    state_root=filled(6),
    pash_root=filled(7),
    committee_hash=filled(8),
)
OTHERS = {
    "height": 8,
    "epoch": 3,
    "view": 10,
    "timestamp_ms": 3_501,
    "proposer": Address(b"\x04" * 20),
}


def test_eq_1_the_hash_is_that_of_all_the_block_is_made_of() -> None:
    assert block_hash(HEADER) == sha256(schema.encode(HEADER))
    for field in fields(Header):
        changed = replace(HEADER, **{field.name: OTHERS.get(field.name, filled(99))})
        assert block_hash(changed) != block_hash(HEADER), field.name


def test_eq_1_a_block_names_the_one_before_it() -> None:
    child = replace(HEADER, height=Height(8), parent=block_hash(HEADER))
    forged = replace(HEADER, timestamp_ms=Millis(3_999))
    assert child.parent == block_hash(HEADER)
    assert child.parent != block_hash(forged)


@pytest.mark.parametrize(
    "data",
    [
        [b"first"],
        [b"second", b"first"],
        [b"first", b"second", b"third"],
        [b"first", b"secone"],
        [b"firstsecond"],
        [],
    ],
)
def test_eq_1_the_data_is_bound_whole_and_in_order(data: list[bytes]) -> None:
    assert transactions_root(data) != HEADER.tx_root


def test_eq_1_the_nonce_is_epoch_and_view() -> None:
    """A leader has one block to a pair; another pair makes another block of the same data."""
    hashes = {
        block_hash(replace(HEADER, epoch=Epoch(epoch), view=View(view)))
        for epoch in range(4)
        for view in range(1, 5)
    }
    assert len(hashes) == 16


def test_the_bytes_of_a_header_are_what_they_were() -> None:
    """Golden: a change of the encoding is a change of every block's hash."""
    assert (
        block_hash(HEADER).hex()
        == "02165723eb1ca17b7d725c4956171d9e7f330e15d0fcb7fe8808faa9f09f5fcd"
    )
