"""Whole nodes in one process, over real sockets: they agree, restart, follow and catch up."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from p2p_aios.codec import schema
from p2p_aios.node.identity import Identity
from p2p_aios.types.block import Block
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import Address, Amount, Millis
from tests.net.node_cluster import QUICK, Member, open_cluster
from tests.node.founders import ALICE, BOB, FUNDS, key

BRISK = replace(QUICK, block_interval_ms=Millis(50), delta_ms=Millis(1000), epoch_blocks=60)
"""Blocks as fast as the machine makes them; patience for one that has much else to do."""
PAY = Transfer(BOB.address, Amount(7))


async def test_four_validators_finalize_a_transfer(tmp_path: Path) -> None:
    async with open_cluster(tmp_path) as cluster:
        for seat in range(4):
            await cluster.start_validator(seat)
        await cluster.submit(ALICE, PAY, through=cluster.members[2])
        await cluster.until(
            lambda: all(m.balance(BOB.address) == FUNDS + 7 for m in cluster.members)
        )
        await cluster.until_height(cluster.height + 2)
        shared = min(member.height for member in cluster.members)
        blocks = {m.parts.chain.store.read_block(shared) for m in cluster.members}
        assert len(blocks) == 1


async def test_an_observer_hears_blocks_and_a_late_one_catches_up(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, count=1, params=BRISK) as cluster:
        validator = await cluster.start_validator(0)
        early = await cluster.start_observer("early")
        await cluster.until_height(3)
        await cluster.until_height(cluster.height + BRISK.epoch_blocks)
        late = await cluster.start_observer("late")
        await cluster.until_height(cluster.height + 5)
        await cluster.submit(ALICE, PAY, through=late)
        for member in (validator, early, late):
            await cluster.until(lambda m=member: m.balance(BOB.address) == FUNDS + 7)


@pytest.mark.slow
async def test_a_validator_that_comes_200_blocks_late_catches_up_and_votes(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, params=BRISK) as cluster:
        for seat in range(3):
            await cluster.start_validator(seat)
        await cluster.until_height(205, within_s=100)
        late = await cluster.start_validator(3)
        await cluster.until_height(cluster.height + 5)
        start = cluster.height
        own = late.identity.validator
        await cluster.until(lambda: proposers(late, start) >= {own.address}, within_s=100)


async def test_a_validator_that_was_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, params=BRISK) as cluster:
        for seat in range(4):
            await cluster.start_validator(seat)
        for _ in range(2):
            await cluster.until_height(cluster.height + 3)
            first = cluster.members[0]
            await cluster.stop(first)
            again = await cluster.start(first.name, first.identity)
            assert not again.parts.voting.core.is_silent
        await cluster.until_height(cluster.height + 3)


async def test_a_validator_that_lost_its_journal_is_silent_until_the_next_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    params = replace(BRISK, clock_skew_ms=Millis(100))
    async with open_cluster(tmp_path, params=params) as cluster:
        for seat in range(4):
            await cluster.start_validator(seat)
        await cluster.until_height(cluster.height + 3)
        first = cluster.members[0]
        await cluster.stop(first)
        assert "signs nothing" not in caplog.text
        shutil.rmtree(first.folder / "journal")
        again = await cluster.start(first.name, first.identity)
        assert again.parts.voting.core.is_silent, "what it signed in this epoch is forgotten"
        await cluster.until(lambda: not again.parts.voting.core.is_silent, within_s=60)
        assert again.parts.voting.core.epoch > 0
        told = [m for m in caplog.messages if "signs nothing" in m]
        assert len(told) == len(set(told)), "once an epoch"
        assert told[0].startswith("epoch=0 "), "its operator is told why"


async def test_a_lone_validator_restarts_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, count=1, params=BRISK) as cluster:
        for _ in range(3):
            validator = await cluster.start_validator(0)
            await cluster.until_height(validator.height + 8)
            tip = validator.parts.chain.tip.height
            await cluster.stop(validator)
        validator = await cluster.start_validator(0)
        assert validator.height >= tip, "what was final stays"
        await cluster.until_height(validator.height + 2)


async def test_a_beacon_chain_ends_and_the_next_one_takes_over(tmp_path: Path) -> None:
    # A journal must be older than an epoch by two skews, and epochs last a fifth of a second here.
    skew = Millis(25)
    tiny = replace(BRISK, epoch_blocks=4, beacon_chain_length=40, clock_skew_ms=skew)
    async with open_cluster(tmp_path, count=1, params=tiny) as cluster:
        for height in (45, 90):
            validator = await cluster.start_validator(0)
            await cluster.until_height(height)
            await cluster.stop(validator)


async def test_a_validator_with_another_peer_key_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_cluster(tmp_path, params=BRISK) as cluster:
        strange = Identity(key("another peer"), cluster.founders.validators[0])
        await cluster.start("strange", strange)
        assert "registered under peer" in caplog.text
        await cluster.start("unknown", Identity(key("p"), key("no validator")))
        assert "not registered" in caplog.text


def proposers(member: Member, start: int) -> set[Address]:
    """Of the blocks from height `start` on."""
    found = member.parts.chain.store.read_blocks(start, 64, 1 << 20)
    return {schema.decode(Block, raw).header.proposer for _, raw, _ in found}
