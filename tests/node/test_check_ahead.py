"""Transactions checked ahead of their submission are checked once, and judged as ever."""

from pathlib import Path

import pytest

from p2p_aios.errors import Invalid
from p2p_aios.node import transactions
from p2p_aios.types.transaction import Transfer, check_transaction
from p2p_aios.units import Amount
from tests.node.founders import ALICE, BOB, Founders
from tests.node.quiet import open_transactions


async def test_each_is_checked_once_whatever_stands_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[bytes] = []

    def count(raw: bytes, chain_id: bytes) -> object:
        checked.append(raw)
        return check_transaction(raw, chain_id)  # type: ignore[arg-type]

    monkeypatch.setattr(transactions, "check_transaction", count)
    founders = Founders()
    async with (
        founders.open_chain(tmp_path / "chain") as chain,
        open_transactions(chain) as pool,
    ):
        pay = Transfer(BOB.address, Amount(7))
        pays = [founders.transaction(chain, ALICE, pay, nonce=nonce) for nonce in range(3)]
        raws = [pays[0].raw, b"garbage", pays[1].raw, pays[2].raw, pays[2].raw]
        for _ in range(2):
            await pool.check_ahead(raws)
        assert checked == raws[:4]
        assert [await pool.submit(each.raw) for each in pays] == [each.id for each in pays]
        with pytest.raises(Invalid, match="cbor_malformed"):
            await pool.submit(b"garbage")
        assert checked == raws[:4]
