"""A checking client says what a plain one says, of a node whose own word it never takes."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.tables import WORKERS
from p2p_aios.node.chain import Chain
from p2p_aios.sdk import Client
from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.views import JobState, Phase, TransactionStatus
from p2p_aios.units import ZERO_HASH, Hash, Height, Millis
from tests.node.chain_backend import ChainBackend
from tests.node.founders import ALICE, Founders
from tests.node.full_chain import FullChain
from tests.rpc.serving import serving

FOUNDERS = Founders(timestamp_ms=int(time.time() * 1000))


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    async with FOUNDERS.open_chain(tmp_path / "chain") as opened:
        yield opened


@pytest.fixture
async def full(chain: Chain) -> FullChain:
    made = FullChain(FOUNDERS, chain)
    await made.fill()
    return made


class Mute(ChainBackend):
    """Proves, and says nothing else of the state."""

    async def _read(self, *_: Any) -> Any:
        raise Unavailable("internal_error", "only proofs here")


QUESTIONS: list[Callable[[Client, FullChain], Awaitable[Any]]] = [
    lambda client, _: client.supply(),
    lambda client, _: client.supply(Height(5)),
    lambda client, _: client.validators(),
    lambda client, _: client.validators(FOUNDERS.validators[1].address, 2, Height(9)),
    lambda client, _: client.workers(),
    lambda client, _: client.workers(min(ALICE.address, b"\xff" * 20)),
    lambda client, full: client.job(full.settled),
    lambda client, full: client.job(full.refunded),
    lambda client, full: client.job(full.refunded, Height(12)),
    lambda client, _: client.jobs(),
    lambda client, _: client.jobs(height=Height(10)),
    lambda client, full: client.task(full.task),
    lambda client, full: client.task(full.task, Height(3)),
    lambda client, _: client.tasks(),
    lambda client, full: client.tasks(full.task),
    lambda client, full: client.round(full.task, 0),
    lambda client, full: client.rounds(full.task),
    lambda client, full: client.rounds(full.task, 1, 1, Height(14)),
]


async def test_all_that_is_read_is_proven(chain: Chain, full: FullChain) -> None:
    async with (
        serving(backend=ChainBackend(chain)) as honest,  # type: ignore[arg-type]
        serving(backend=Mute(chain)) as mute,  # type: ignore[arg-type]
        Client(honest.url) as plain,
        Client(mute.url, checked=FOUNDERS.genesis, tries=1) as checking,
    ):
        for number, question in enumerate(QUESTIONS):
            assert await outcome(question(plain, full)) == await outcome(
                question(checking, full)
            ), number
        worker = await checking.record(WORKERS, ALICE.address)
        assert worker is not None
        assert worker.address == ALICE.address
        # The chain is as rich as it should be, or equal answers would say little.
        states = {(await plain.job(id)).state for id in (full.settled, full.refunded, full.open)}
        assert len(states) == 3
        assert (await checking.job(full.refunded)).code == "deadline_missed"
        phases = [each.phase for each in await checking.rounds(full.task)]
        assert phases[:2] == [Phase.SETTLED, Phase.VOIDED]
        assert (await checking.task(full.task)).score is not None
        assert len(await checking.workers()) == 2


async def outcome(asked: Awaitable[Any]) -> Any:
    try:
        return await asked
    except Invalid as refusal:
        return refusal.code


async def test_that_there_is_nothing_is_proven_too(chain: Chain) -> None:
    async with (
        serving(backend=Mute(chain)) as served,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
    ):
        await FOUNDERS.extend(chain)
        for asked, code in [
            (client.job(ZERO_HASH), "unknown_job"),
            (client.task(ZERO_HASH), "unknown_task"),
            (client.round(ZERO_HASH, 0), "unknown_round"),
            (client.rounds(ZERO_HASH), "unknown_task"),
        ]:
            with pytest.raises(Invalid, match="it is proven") as caught:
                await asked
            assert caught.value.code == code
        assert (await client.jobs(), await client.tasks(), await client.workers()) == ((), (), ())


async def test_closed_jobs_are_what_the_node_says(chain: Chain, full: FullChain) -> None:
    async with (
        serving(backend=ChainBackend(chain)) as served,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
    ):
        closed = await client.jobs(is_closed=True)
        assert {each.id for each in closed} == {full.settled, full.refunded}
        assert [each.id for each in closed] == sorted(each.id for each in closed)
        assert [each.id for each in await client.jobs()] == [full.open]
        assert await client.jobs(closed[0].id, is_closed=True) == closed[1:]
        assert await client.jobs(limit=1, is_closed=True) == closed[:1]
        states = {each.state for each in closed}
        assert states == {JobState.SETTLED, JobState.REFUNDED}


async def test_blocks_and_transactions_are_proven(chain: Chain, full: FullChain) -> None:
    async with (
        serving(backend=ChainBackend(chain)) as served,  # type: ignore[arg-type]
        Client(served.url) as plain,
        Client(served.url, checked=FOUNDERS.genesis) as client,
    ):
        for at in (Height(1), Height(8), None):
            view = await plain.block(at, has_transactions=True, has_outcome=True)
            assert await client.block(at, has_transactions=True, has_outcome=True) == view
            assert await client.block(view.hash) == await plain.block(at)
        assert await client.blocks(Height(3), 9) == await plain.blocks(Height(3), 9)
        assert await client.blocks(chain.tip.height) == await plain.blocks(chain.tip.height)
        assert await client.blocks(Height(chain.tip.height + 1)) == ()
        status = await plain.transaction(full.task)
        assert status.receipt is not None
        assert await client.transaction(full.task) == status
        assert await client.wait(full.task) == status


class Liar(ChainBackend):
    """Its blocks are altered by `lie`; its proofs are true."""

    def __init__(self, chain: Chain, lie: Callable[[Any], Any]) -> None:
        super().__init__(chain)
        self._lie = lie

    async def block_at(self, height: Height) -> FinalizedBlock | None:
        found = await super().block_at(height)
        return None if found is None else replace(found, block=self._lie(found.block))

    async def outcome_at(self, height: Height) -> BlockOutcome | None:
        return self._lie(await super().outcome_at(height))  # type: ignore[no-any-return]


def later(part: Any) -> Any:
    if isinstance(part, BlockOutcome):
        return part
    return replace(part, header=replace(part.header, timestamp_ms=Millis(0)))


def fewer(part: Any) -> Any:
    return part if isinstance(part, BlockOutcome) else replace(part, transactions=())


def failed(part: Any) -> Any:
    if not isinstance(part, BlockOutcome):
        return part
    return replace(part, receipts=tuple(replace(each, code="expired") for each in part.receipts))


@pytest.mark.parametrize("lie", [later, fewer, failed])
async def test_no_altered_block_passes(
    chain: Chain, full: FullChain, lie: Callable[[Any], Any]
) -> None:
    del full
    async with (
        serving(backend=Liar(chain, lie)) as served,  # type: ignore[arg-type]
        serving(backend=ChainBackend(chain)) as honest,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
        Client([served.url, honest.url], checked=FOUNDERS.genesis) as choosing,
        Client(honest.url) as plain,
    ):
        with pytest.raises(Invalid) as caught:
            await client.block(Height(2), has_outcome=True)
        assert caught.value.code == "proof_block_differs"
        true = await plain.block(Height(2), has_outcome=True)
        assert await choosing.block(Height(2), has_outcome=True) == true
        if lie is later:
            with pytest.raises(Invalid, match=r"proof_block_differs|proof_unlinked"):
                await client.blocks(Height(1))


async def test_no_false_receipt_passes(chain: Chain, full: FullChain) -> None:
    class Denier(ChainBackend):
        """Says of every transaction that it failed, and of strange ones that they are final."""

        async def transaction(self, id: Hash) -> TransactionStatus | None:
            told = await super().transaction(full.task)
            assert told is not None
            assert told.receipt is not None
            return replace(told, id=id, receipt=replace(told.receipt, code="expired"))

    async with (
        serving(backend=Denier(chain)) as served,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
    ):
        status = await client.transaction(full.task)
        assert status.receipt is not None
        assert status.receipt.code == "ok"
        with pytest.raises(Invalid) as caught:
            await client.transaction(ZERO_HASH)
        assert caught.value.code == "proof_off_topic"


async def test_one_answer_is_of_one_block(chain: Chain, full: FullChain) -> None:
    """The chain grows while a listing is proven, and the listing stays that of its first record."""

    class Growing(ChainBackend):
        async def prove_state(self, key: bytes, height: Height | None) -> Any:
            proof = await super().prove_state(key, height)
            await FOUNDERS.extend(chain)
            return proof

    async with (
        serving(backend=Growing(chain)) as served,  # type: ignore[arg-type]
        Client(served.url, checked=FOUNDERS.genesis) as client,
    ):
        before = chain.tip.height
        assert (await client.supply()).height == before
        assert len(await client.rounds(full.task)) >= 2
        assert chain.tip.height >= before + 5
