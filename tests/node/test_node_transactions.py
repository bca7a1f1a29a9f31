"""How transactions come in, wait and go: by RPC, of our own, and after blocks became final."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.node.candidate import Candidate
from p2p_aios.node.chain import Chain
from p2p_aios.node.transactions import EXPIRY_BLOCKS, Transactions
from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.learning import CommitUpdate
from p2p_aios.types.transaction import CheckedTransaction, SetBeaconAnchor, Transfer
from p2p_aios.units import ZERO_HASH, Amount, Height
from tests.node.founders import ALICE, BOB, FUNDS, POOR, Founders
from tests.node.quiet import open_transactions

FOUNDERS = Founders()
PAY = Transfer(BOB.address, Amount(7))
MANY = 1000


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    async with FOUNDERS.open_chain(tmp_path / "chain") as opened:
        yield opened


@pytest.fixture
async def pool(chain: Chain) -> AsyncIterator[Transactions]:
    async with open_transactions(chain) as opened:
        yield opened


async def include(chain: Chain, pool: Transactions, *waiting: CheckedTransaction) -> Candidate:
    """A block with these becomes final, and the pool is told."""
    candidate = await FOUNDERS.build(chain, chain.tip.hash, *waiting)
    certificate = FOUNDERS.certify(chain, candidate)
    pool.forget_finalized(await chain.finalize([candidate.hash], certificate))
    return candidate


async def test_what_is_submitted_is_selected_once_and_forgotten_when_final(
    chain: Chain, pool: Transactions
) -> None:
    pay = FOUNDERS.transaction(chain, ALICE, PAY)
    assert await pool.submit(pay.raw) == pay.id
    assert await pool.submit(pay.raw) == pay.id, "twice is no fault"
    assert pool.next_nonce(ALICE.address) == 1
    (chosen,) = pool.select(chain.footing(chain.tip.hash), MANY)
    assert chosen == pay
    candidate = await FOUNDERS.build(chain, chain.tip.hash, pay)
    assert pool.select(chain.footing(candidate.hash), MANY) == (), "it is in the block built upon"
    assert len(pool.mempool) == 1, "which may still lose"
    pool.forget_finalized(
        await chain.finalize([candidate.hash], FOUNDERS.certify(chain, candidate))
    )
    assert len(pool.mempool) == 0
    with pytest.raises(Invalid, match="nonce_too_low"):
        await pool.submit(pay.raw)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"chain_id": ZERO_HASH}, "wrong_chain"),
        ({"fee": Amount(1)}, "fee_too_low"),
        ({"fee": Amount(FUNDS + 1)}, "funds_insufficient"),
        ({"expires": Height(0)}, "expired"),
        ({"expires": Height(10**6)}, "expires_too_far"),
        ({"action": CommitUpdate(ZERO_HASH, 0, ZERO_HASH)}, "unknown_task"),
        ({"nonce": 500}, "nonce_too_far"),
    ],
)
async def test_what_cannot_be_included_is_refused(
    chain: Chain, pool: Transactions, changes: dict[str, object], code: str
) -> None:
    with pytest.raises((Invalid, Unavailable), match=f"^{code}"):
        await pool.submit(FOUNDERS.transaction(chain, ALICE, PAY, **changes).raw)
    assert len(pool.mempool) == 0


@pytest.mark.parametrize("raw", [b"", b"\x00", b"\xff" * 300, b"\x82" * 70_000])
async def test_garbage_is_refused_again_and_again(pool: Transactions, raw: bytes) -> None:
    for _ in range(2):
        with pytest.raises(Invalid):
            await pool.submit(raw)


async def test_one_bad_transaction_does_not_spoil_what_is_known(
    chain: Chain, pool: Transactions
) -> None:
    good = FOUNDERS.transaction(chain, ALICE, PAY)
    bad = good.raw[:-1] + bytes([good.raw[-1] ^ 1])
    for _ in range(2):
        with pytest.raises(Invalid, match="signature_invalid"):
            await pool.check((good.raw, bad))
    assert await pool.check((good.raw, good.raw)) == (good, good)


async def test_our_own_take_consecutive_nonces_whoever_asks_at_once(
    chain: Chain, pool: Transactions
) -> None:
    async def pay() -> None:
        await pool.submit_own(ALICE, PAY)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(pay)
    chosen = pool.select(chain.footing(chain.tip.hash), MANY)
    assert [transaction.body.nonce for transaction in chosen] == [0, 1, 2, 3, 4]
    assert {transaction.body.expires for transaction in chosen} == {EXPIRY_BLOCKS}
    await include(chain, pool, *chosen)
    assert len(pool.mempool) == 0


async def test_a_purse_that_is_empty_pays_nothing(pool: Transactions) -> None:
    with pytest.raises(Invalid, match="funds_insufficient"):
        await pool.submit_own(POOR, PAY)


async def test_a_validator_without_funds_registers_its_beacon(
    chain: Chain, pool: Transactions
) -> None:
    validator = FOUNDERS.validators[0]
    await pool.submit_own(validator, SetBeaconAnchor(ZERO_HASH), Amount(0))
    candidate = await include(chain, pool, *pool.select(chain.footing(chain.tip.hash), MANY))
    assert [receipt.code for receipt in candidate.execution.receipts] == ["ok"]


async def test_only_what_a_block_can_never_take_is_dropped(
    chain: Chain, pool: Transactions
) -> None:
    first, later = (FOUNDERS.transaction(chain, ALICE, PAY, nonce=nonce) for nonce in (0, 1))
    for each in (first, later):
        await pool.submit(each.raw)
    slot = FOUNDERS.slot(chain, chain.tip.hash, 1)
    _, rejected = await chain.build(chain.footing(chain.tip.hash), slot, (later,))
    assert [error.code for _, error in rejected] == ["nonce_too_high"]
    pool.drop(rejected)
    assert len(pool.mempool) == 2
    pool.drop([(first, Invalid("expired", "it came too late"))])
    assert pool.mempool.get(first.id) is None


async def test_what_expires_goes(chain: Chain, pool: Transactions) -> None:
    pay = FOUNDERS.transaction(chain, ALICE, PAY, expires=Height(2))
    await pool.submit(pay.raw)
    await include(chain, pool)
    assert len(pool.mempool) == 1
    await include(chain, pool)
    assert len(pool.mempool) == 0


async def test_a_fetched_blocks_transactions_are_forgotten_too(
    chain: Chain, pool: Transactions, tmp_path: Path
) -> None:
    pay = FOUNDERS.transaction(chain, ALICE, PAY)
    await pool.submit(pay.raw)
    async with FOUNDERS.open_chain(tmp_path / "other") as other:
        final: FinalizedBlock = await FOUNDERS.extend(other, pay)
    assert final.certificate is not None
    checked = await pool.check(final.block.transactions)
    candidate = await chain.execute(final.block, checked)
    pool.forget_finalized(await chain.finalize([candidate.hash], final.certificate))
    assert len(pool.mempool) == 0
    assert pool.next_nonce(ALICE.address) == 1
