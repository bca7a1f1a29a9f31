"""A block's outcome is encoded once, and is the same wherever it is written."""

import pytest

from p2p_aios.codec import schema
from p2p_aios.crypto.merkle import merkle_root
from p2p_aios.types.event import Events, Transferred
from p2p_aios.types.receipt import SUCCESS, BlockOutcome, Receipt, encode_outcome, receipts_root
from p2p_aios.units import Address, Amount, Hash

MOVED = Transferred(Address(bytes(20)), Address(bytes([1]) * 20), Amount(5))


@pytest.mark.parametrize("count", [0, 1, 23, 24, 300])
def test_the_parts_make_the_whole(count: int) -> None:
    receipts = tuple(
        Receipt(Hash(number.to_bytes(32, "big")), SUCCESS, Amount(number), (MOVED,) * (number % 3))
        for number in range(count)
    )
    outcome = encode_outcome(receipts, (MOVED,))
    assert outcome.encoded() == schema.encode(BlockOutcome(receipts, (MOVED,)))
    leaves = [*map(schema.encode, receipts), schema.encode_as(Events, (MOVED,))]
    assert outcome.root() == receipts_root(receipts, (MOVED,)) == merkle_root(leaves)
