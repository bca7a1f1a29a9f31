"""What was, and proofs of it: reads at earlier heights, and where the horizon ends."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.tables import ACCOUNTS, TASKS
from p2p_aios.node.chain import Chain
from p2p_aios.sdk.proofs import check_state, trust_genesis
from p2p_aios.types.block import block_hash
from p2p_aios.types.compute import JobKind, RegisterWorker, RetireWorker
from p2p_aios.types.transaction import Action, Transfer
from p2p_aios.types.vote import VoteKind
from p2p_aios.units import AIOS, ZERO_HASH, Amount, Height
from tests.node.chain_backend import ChainBackend
from tests.node.founders import ALICE, BOB, FUNDS, Founders, key
from tests.node.full_chain import JOB, TASK

FOUNDERS = Founders()
BOBS = ACCOUNTS.prefix + BOB.address


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    """Bob has FUNDS + n after block n; states of the last four blocks are kept."""
    async with FOUNDERS.open_chain(tmp_path / "chain", keep_blocks=4) as opened:
        for _ in range(7):
            pay = FOUNDERS.transaction(opened, ALICE, Transfer(BOB.address, Amount(1)))
            await FOUNDERS.extend(opened, pay)
        yield opened


async def test_reads_of_the_past_are_what_was(chain: Chain) -> None:
    backend = ChainBackend(chain)
    for height in range(3, 8):
        view = await backend.account(BOB.address, Height(height))
        assert (view.balance, view.height) == (FUNDS + height, height)
        sender = await backend.account(ALICE.address, Height(height))
        assert (sender.nonce, sender.next_nonce) == (height, height)
        assert (await backend.supply(Height(height))).height == height
    assert (await backend.account(BOB.address)).height == 7
    stranger = await backend.account(key("stranger").address, Height(5))
    assert (stranger.balance, stranger.nonce) == (0, 0)


async def test_listings_of_the_past_are_what_was(chain: Chain) -> None:
    backend = ChainBackend(chain)
    offer = RegisterWorker(FOUNDERS.validators[0].address, 1, (JobKind.TRAIN,))
    actions: tuple[Action, ...] = (offer, JOB, TASK, RetireWorker())
    seen = {}
    for action in actions:
        signed = FOUNDERS.transaction(chain, ALICE, action, fee=Amount(AIOS))
        await FOUNDERS.extend(chain, signed)
        seen[chain.tip.height] = await listings(backend, None)
    assert len({str(each) for each in seen.values()}) == len(actions)
    for height, then in seen.items():
        assert await listings(backend, height) == then
    for late in (Height(3), Height(chain.tip.height + 1)):
        for ask in (backend.validators, backend.workers, backend.jobs, backend.tasks):
            with pytest.raises((Unavailable, Invalid)) as caught:
                await ask(None, 9, late)  # type: ignore[operator]
            assert caught.value.code in ("height_pruned", "unknown_block")


async def listings(backend: ChainBackend, height: Height | None) -> list[Any]:
    tasks = await backend.tasks(None, 9, height)
    found: list[Any] = [
        await backend.validators(None, 9, height),
        await backend.workers(None, 9, height),
        await backend.jobs(None, 9, height),
        tasks,
    ]
    return found + [await backend.rounds(task.id, 0, 9, height) for task in tasks]


async def test_beyond_the_horizon_and_the_tip(chain: Chain) -> None:
    backend = ChainBackend(chain)
    for height in (0, 1, 2):
        for ask in (backend.supply(Height(height)), backend.prove_state(BOBS, Height(height))):
            with pytest.raises(Unavailable, match="archive") as pruned:
                await ask
            assert pruned.value.code == "height_pruned"
    for late in (backend.account(BOB.address, Height(8)), backend.prove_state(BOBS, Height(8))):
        with pytest.raises(Invalid) as unknown:
            await late
        assert unknown.value.code == "unknown_block"
    # Headers and certificates are kept for ever; genesis has neither.
    assert (await backend.prove_block(Height(1))).headers[0].height == 1
    for height in (0, 8):
        with pytest.raises(Invalid, match="unknown_block"):
            await backend.prove_block(Height(height))


async def test_proofs_of_presence_and_absence_hold(chain: Chain) -> None:
    backend, trusted = ChainBackend(chain), trust_genesis(FOUNDERS.genesis)
    for height in range(3, 8):
        proof = await backend.prove_state(BOBS, Height(height))
        header = check_state(trusted.committee, trusted.chain_id, proof)
        assert header.height == height
        assert proof.value is not None
        assert ACCOUNTS.decode(proof.value).balance == FUNDS + height
        absent = await backend.prove_state(TASKS.prefix + ZERO_HASH, Height(height))
        assert absent.value is None
        assert check_state(trusted.committee, trusted.chain_id, absent) == header
    latest = await backend.prove_state(BOBS, None)
    assert latest.finality.headers[0].height == 7


async def test_block_finalized_by_a_descendant_is_proven_through_it(chain: Chain) -> None:
    # Height 8 would close the epoch; 9 and 10 stand on it.
    await FOUNDERS.extend(chain)
    first = await FOUNDERS.build(chain, chain.tip.hash)
    second = await FOUNDERS.build(chain, first.hash, view=2)
    certificate = FOUNDERS.certify(chain, second, VoteKind.FINALIZE)
    await chain.finalize([first.hash, second.hash], certificate)
    proof = await ChainBackend(chain).prove_block(Height(9))
    assert [header.height for header in proof.headers] == [9, 10]
    assert proof.certificate.ballot.block == block_hash(proof.headers[1])
