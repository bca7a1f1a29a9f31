"""A checking client says what a plain one says, of a node whose own word it never takes."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.tables import WORKERS
from p2p_aios.node.chain import Chain
from p2p_aios.sdk import Client
from p2p_aios.types.views import JobState, Phase
from p2p_aios.units import ZERO_HASH, Height
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
