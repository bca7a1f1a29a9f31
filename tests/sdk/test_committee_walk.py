"""Who was away for long walks from committee to committee: through an archive, within bounds."""

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from p2p_aios.codec import schema
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.committees import kept_epochs
from p2p_aios.node.chain import Chain
from p2p_aios.sdk import Client, Trusted, light, trust_genesis
from p2p_aios.sdk.proofs import TRUSTING_MS
from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.committee import Committee
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import Amount, Epoch, Height, Millis
from tests.node.chain_backend import ChainBackend
from tests.node.founders import ALICE, BOB, FUNDS, PARAMS, Founders, replay
from tests.rpc.serving import serving

EPOCHS = 12
"""Of which a state keeps the last two."""
SMALL = replace(PARAMS, epoch_blocks=4, evidence_epochs=2, window_blocks_max=4)
FOUNDERS = Founders(params=SMALL, timestamp_ms=int(time.time() * 1000))
TIP = EPOCHS * SMALL.epoch_blocks + 2


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Chain]:
    async with FOUNDERS.open_chain(tmp_path / "archive") as opened:
        for _ in range(TIP):
            pay = FOUNDERS.transaction(opened, ALICE, Transfer(BOB.address, Amount(1)))
            await FOUNDERS.extend(opened, pay)
        yield opened


@pytest.fixture
async def pruned(archive: Chain, tmp_path: Path) -> AsyncIterator[Chain]:
    """The same chain, of whose states the last six are kept."""
    async with FOUNDERS.open_chain(tmp_path / "pruned", keep_blocks=6) as opened:
        await replay(opened, [block_of(archive, height) for height in range(1, TIP + 1)])
        yield opened


def block_of(chain: Chain, height: int) -> FinalizedBlock:
    backend = ChainBackend(chain)
    found = backend._read_block(Height(height))
    assert found is not None
    return found


@asynccontextmanager
async def checking(nodes: Sequence[Any], trusted: Any = FOUNDERS.genesis) -> AsyncIterator[Client]:
    """A client of these backends, in this order."""
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(serving(backend=node)) for node in nodes]
        urls = [each.url for each in served]
        yield await stack.enter_async_context(Client(urls, checked=trusted))


async def test_an_archive_leads_from_genesis_to_the_tip(
    archive: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kept_epochs(SMALL) < EPOCHS - 2
    monkeypatch.setattr(light, "HANDOVERS_MAX", 5)
    async with checking([ChainBackend(archive)]) as client:
        assert client.trusted == trust_genesis(FOUNDERS.genesis)
        assert (await client.account(BOB.address)).balance == FUNDS + TIP
        assert client.trusted is not None
        assert client.trusted.committee.epoch == EPOCHS
        closing = block_of(archive, EPOCHS * SMALL.epoch_blocks).block.header
        assert client.trusted.timestamp_ms == closing.timestamp_ms
        # What it has learned is kept as JSON, and begun from.
        kept = schema.from_json(Trusted, schema.to_json(client.trusted))
    async with checking([ChainBackend(archive)], kept) as again:
        assert (await again.account(BOB.address)).balance == FUNDS + TIP


async def test_a_pruned_node_says_what_to_do_and_an_archive_beside_it_helps(
    archive: Chain, pruned: Chain
) -> None:
    async with checking([ChainBackend(pruned)]) as client:
        with pytest.raises(Unavailable, match=r"archive .* or a checkpoint") as caught:
            await client.account(BOB.address)
        assert caught.value.code == "height_pruned"
    async with checking([ChainBackend(pruned), ChainBackend(archive)]) as client:
        assert (await client.account(BOB.address)).balance == FUNDS + TIP
    recent = await ChainBackend(pruned).committee(Epoch(EPOCHS - 1))
    assert recent is not None
    trusted = Trusted(FOUNDERS.chain_id, SMALL.epoch_blocks, recent, FOUNDERS.genesis.timestamp_ms)
    async with checking([ChainBackend(pruned)], trusted) as client:
        assert (await client.account(BOB.address)).balance == FUNDS + TIP


async def test_committees_are_read_where_a_state_has_them(archive: Chain, pruned: Chain) -> None:
    backend = ChainBackend(archive)
    for epoch in range(EPOCHS + 3):
        found = await backend.committee(Epoch(epoch))
        if epoch == EPOCHS + 2:
            assert found is None
            continue
        assert found is not None
        assert found.epoch == epoch
        at = Height(epoch * SMALL.epoch_blocks + 1)
        if at <= TIP:
            assert await backend.committee(None, at) == found
            assert await backend.committee(Epoch(epoch), at) == found
    async with checking([backend]) as client:
        for epoch in (None, 0, EPOCHS - 3, EPOCHS - 1, EPOCHS + 1):
            wanted = None if epoch is None else Epoch(epoch)
            assert await client.committee(wanted) == await backend.committee(wanted)
        assert await client.committee(None, Height(9)) == await backend.committee(Epoch(2))
        unknown: list[tuple[Epoch, Height | None]] = [(Epoch(EPOCHS + 2), None)]
        for epoch, height in (*unknown, (Epoch(0), Height(TIP))):
            with pytest.raises(Invalid, match="it is proven") as caught:
                await client.committee(epoch, height)
            assert caught.value.code == "unknown_committee"
    # A height is a state, which does not know what it forgot.
    assert await backend.committee(Epoch(0), Height(TIP)) is None
    for ask in (Epoch(0), None), (None, Height(3)):
        with pytest.raises(Unavailable) as caught:
            await ChainBackend(pruned).committee(*ask)
        assert caught.value.code == "height_pruned"


async def test_trust_ends_after_a_fortnight(archive: Chain) -> None:
    committee = await ChainBackend(archive).committee(Epoch(EPOCHS))
    assert committee is not None
    now_ms = int(time.time() * 1000)
    trusted = Trusted(FOUNDERS.chain_id, SMALL.epoch_blocks, committee, Millis(now_ms))
    for age_ms, is_believed in ((TRUSTING_MS - 60_000, True), (TRUSTING_MS + 60_000, False)):
        old = replace(trusted, timestamp_ms=Millis(now_ms - age_ms))
        async with checking([ChainBackend(archive)], old) as client:
            if is_believed:
                assert (await client.account(BOB.address)).balance == FUNDS + TIP
                continue
            with pytest.raises(Invalid, match="14 days") as caught:
                await client.account(BOB.address)
            assert caught.value.code == "checkpoint_needed"


async def test_an_old_chain_is_not_followed_from_its_genesis(tmp_path: Path) -> None:
    old = Founders(params=SMALL, timestamp_ms=int(time.time() * 1000) - TRUSTING_MS - 60_000)
    async with old.open_chain(tmp_path / "old") as chain:
        await old.extend(chain)
        async with checking([ChainBackend(chain)], old.genesis) as client:
            with pytest.raises(Invalid) as caught:
                await client.account(BOB.address)
            assert caught.value.code == "checkpoint_needed"


async def test_a_walk_has_an_end(archive: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light, "EPOCHS_WALK_MAX", EPOCHS - 1)
    async with checking([ChainBackend(archive)]) as client:
        with pytest.raises(Invalid, match="12 epochs to follow") as caught:
            await client.account(BOB.address)
        assert caught.value.code == "checkpoint_needed"


async def test_forgotten_committees_are_walked_to_again(
    archive: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(light, "COMMITTEES_MAX", 3)
    async with checking([ChainBackend(archive)]) as client:
        for height in (TIP, 2, 30, 9, TIP, 21, TIP - 5):
            view = await client.account(BOB.address, Height(height))
            assert view.balance == FUNDS + height
        assert client.trusted is not None
        assert client.trusted.committee.epoch == EPOCHS


async def test_a_false_committee_amid_the_walk_is_noticed(archive: Chain) -> None:
    class Liar(ChainBackend):
        async def committee(
            self, epoch: Epoch | None, height: Height | None = None
        ) -> Committee | None:
            found = await super().committee(epoch, height)
            if epoch != 7 or found is None:
                return found
            first, *others = found.members
            return replace(found, members=(replace(first, weight=10**6), *others))

    async with checking([Liar(archive)]) as client:
        with pytest.raises(Invalid) as caught:
            await client.account(BOB.address)
        assert caught.value.code == "committee_unproven"
        assert client.trusted is not None
        assert client.trusted.committee.epoch == 6
    async with checking([Liar(archive), ChainBackend(archive)]) as client:
        assert (await client.account(BOB.address)).balance == FUNDS + TIP
