"""Execution above the disk: candidates, finality, and what two at once must not do to others."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.ledger.queries import read_account, read_committee
from p2p_aios.node.candidate import Candidate
from p2p_aios.node.chain import Chain
from p2p_aios.store.chain import ChainStore
from p2p_aios.trie.codec import STATE_CODEC, state_path
from p2p_aios.trie.lookup import lookup
from p2p_aios.trie.nodes import root_hash
from p2p_aios.types.block import Block, Header, block_hash
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import ZERO_HASH, Address, Amount, Epoch, Hash, Height
from tests.node.founders import ALICE, BOB, FUNDS, Founders, replay

FOUNDERS = Founders()
PAY = Transfer(BOB.address, Amount(7))


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    async with FOUNDERS.open_chain(tmp_path / "chain") as opened:
        yield opened


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Chain]:
    async with FOUNDERS.open_chain(tmp_path / "other") as opened:
        yield opened


def balance(chain: Chain, address: Address) -> int:
    with chain.state() as state:
        return read_account(state, address).balance


async def fork_of(other: Chain, *, views: tuple[int, ...]) -> list[Candidate]:
    """Siblings on the tip of `other`, one a view."""
    return [await FOUNDERS.build(other, other.tip.hash, view=view) for view in views]


async def execute(chain: Chain, candidate: Candidate) -> Candidate:
    return await chain.execute(candidate.block, candidate.transactions)


async def test_what_one_builds_the_other_executes_to_the_same_roots(
    chain: Chain, other: Chain
) -> None:
    pay = FOUNDERS.transaction(chain, ALICE, PAY)
    built = await FOUNDERS.build(chain, chain.tip.hash, pay)
    executed = await execute(other, built)
    assert executed.block == built.block
    assert executed.execution == built.execution
    assert root_hash(STATE_CODEC, executed.change.root) == built.block.header.state_root
    for each in (chain, other):
        assert balance(each, BOB.address) == FUNDS, "a candidate is not on disk"
        await each.finalize([built.hash], FOUNDERS.certify(each, built))
        assert balance(each, BOB.address) == FUNDS + 7
        assert each.tip.hash == built.hash
        assert each.candidate(built.hash) is None


async def test_candidates_stand_on_candidates_and_become_final_together(chain: Chain) -> None:
    first = await FOUNDERS.build(chain, chain.tip.hash, FOUNDERS.transaction(chain, ALICE, PAY))
    again = FOUNDERS.transaction(chain, ALICE, PAY, nonce=1)
    second = await FOUNDERS.build(chain, first.hash, again, view=2)
    third = await FOUNDERS.build(chain, second.hash, view=3)
    footing = chain.footing(third.hash)
    assert footing.layers == (third, second, first)
    with chain.snapshot() as snapshot:
        ground = chain.ground(footing, snapshot)
        assert read_account(ground, BOB.address).balance == FUNDS + 14
    final = await chain.finalize(
        [first.hash, second.hash, third.hash], FOUNDERS.certify(chain, third)
    )
    assert final == (first, second, third)
    assert balance(chain, BOB.address) == FUNDS + 14
    assert chain.store.read_certificate(1) is None
    assert chain.store.read_certificate(3) is not None


async def test_siblings_and_what_stands_on_them_are_dropped(chain: Chain) -> None:
    winner = await FOUNDERS.build(chain, chain.tip.hash)
    loser = await FOUNDERS.build(chain, chain.tip.hash, view=2)
    child = await FOUNDERS.build(chain, winner.hash, view=3)
    orphan = await FOUNDERS.build(chain, loser.hash, view=4)
    await chain.finalize([winner.hash], FOUNDERS.certify(chain, winner))
    assert chain.candidate(child.hash) is child
    assert chain.candidate(loser.hash) is None
    assert chain.candidate(orphan.hash) is None
    with pytest.raises(Unavailable, match="unknown_parent"):
        chain.footing(loser.hash)


async def test_a_restart_finds_the_tip_and_goes_on(tmp_path: Path, other: Chain) -> None:
    history = await FOUNDERS.history(other, 10)
    async with FOUNDERS.open_chain(tmp_path / "again") as chain:
        await replay(chain, history[:6])
        tip = chain.tip
        lost = await FOUNDERS.build(chain, tip.hash, view=2)
    async with FOUNDERS.open_chain(tmp_path / "again") as chain:
        assert chain.tip == tip
        assert chain.candidate(lost.hash) is None
        await replay(chain, history[6:])
        assert chain.tip == other.tip


async def test_every_trie_node_is_there_after_losers_and_restarts(tmp_path: Path) -> None:
    """The whole state is found through the trie, whatever ids were used and lost on the way."""
    folder = tmp_path / "trie"
    for _ in range(3):
        async with FOUNDERS.open_chain(folder, keep_blocks=2) as chain:
            for _ in range(4):
                pay = FOUNDERS.transaction(chain, ALICE, PAY)
                winner = await FOUNDERS.build(chain, chain.tip.hash, pay)
                await FOUNDERS.build(chain, chain.tip.hash, view=2)
                await FOUNDERS.build(chain, winner.hash, view=3)
                await chain.finalize([winner.hash], FOUNDERS.certify(chain, winner))
            read, root = chain.store.read_node, chain.tip.root
            for state_key, value in chain.store.state_items():
                assert lookup(STATE_CODEC, read, root, state_path(state_key)) == value


async def test_a_block_executed_by_two_at_once_is_executed_once(chain: Chain, other: Chain) -> None:
    """Its children name its trie nodes by the ids of that one execution."""
    (block,) = await fork_of(other, views=(1,))
    found: list[Candidate] = []

    async def run() -> None:
        found.append(await execute(chain, block))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
    assert found[0] is found[1] is found[2] is chain.candidate(block.hash)
    child = await FOUNDERS.build(chain, block.hash, view=2)
    assert await execute(chain, block) is found[0]
    certificate = FOUNDERS.certify(chain, child)
    await chain.finalize([block.hash, child.hash], certificate)
    await FOUNDERS.history(chain, 3)


async def test_a_block_that_is_final_by_now_is_no_invalid_one(chain: Chain, other: Chain) -> None:
    history = await FOUNDERS.history(other, 2)
    await replay(chain, history)
    for final in history:
        with pytest.raises(Unavailable, match="unknown_parent"):
            await chain.execute(final.block, ())


async def test_a_footing_that_finality_passed_by_is_refused(chain: Chain) -> None:
    footing = chain.footing(chain.tip.hash)
    slot = FOUNDERS.slot(chain, chain.tip.hash, view=2)
    await FOUNDERS.extend(chain)
    with pytest.raises(Unavailable, match="unknown_parent"):
        await chain.build(footing, slot, ())


async def test_blocks_are_executed_while_others_become_final(chain: Chain, other: Chain) -> None:
    """Neither waits for the other, and the roots come out the same."""
    made = [await FOUNDERS.build(other, other.tip.hash)]
    for view in range(2, 8):
        made.append(await FOUNDERS.build(other, made[-1].hash, view=view))

    async def finalize_each() -> None:
        for candidate in made:
            while chain.candidate(candidate.hash) is None:
                await trio.sleep(0.001)
            await chain.finalize([candidate.hash], FOUNDERS.certify(other, candidate))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(finalize_each)
        for candidate in made:
            await execute(chain, candidate)
    assert chain.tip.hash == made[-1].hash
    await FOUNDERS.extend(chain)


COMMITMENTS = ("tx_root", "receipts_root", "state_root", "pash_root", "committee_hash")


@pytest.mark.parametrize("name", COMMITMENTS)
async def test_a_wrong_commitment_is_named(chain: Chain, other: Chain, name: str) -> None:
    (built,) = await fork_of(other, views=(1,))
    header = replace(built.block.header, **{name: ZERO_HASH})
    with pytest.raises(Invalid, match=f"^{name}_wrong"):
        await chain.execute(Block(header, ()), ())
    assert chain.candidate(block_hash(header)) is None
    assert await execute(chain, built)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"chain_id": ZERO_HASH}, "wrong_chain"),
        ({"height": Height(2)}, "height_wrong"),
        ({"epoch": Epoch(1)}, "epoch_wrong"),
        ({"reveal": ZERO_HASH}, "beacon_reveal_wrong"),
        ({"proposer": ALICE.address}, "unknown_proposer"),
    ],
)
async def test_an_impossible_header_is_refused(
    chain: Chain, other: Chain, change: dict[str, Any], code: str
) -> None:
    (built,) = await fork_of(other, views=(1,))
    header: Header = replace(built.block.header, **change)
    with pytest.raises(Invalid, match=f"^{code}"):
        await chain.execute(Block(header, ()), ())


async def test_a_body_that_the_header_does_not_name_is_refused(chain: Chain, other: Chain) -> None:
    (built,) = await fork_of(other, views=(1,))
    pay = FOUNDERS.transaction(chain, ALICE, PAY)
    with pytest.raises(Invalid, match="_root_wrong"):
        await chain.execute(Block(built.block.header, (pay.raw,)), (pay,))


async def test_epochs_turn_on_disk(chain: Chain) -> None:
    await FOUNDERS.history(chain, 2 * FOUNDERS.params.epoch_blocks + 1)
    assert chain.tip.epoch == 2
    with chain.state() as state:
        committees = [read_committee(state, Epoch(number)) for number in (2, 3, 4)]
    assert [each and each.epoch for each in committees] == [2, 3, None]


async def test_another_genesis_is_refused(tmp_path: Path) -> None:
    async with FOUNDERS.open_chain(tmp_path / "chain"):
        pass
    with pytest.raises(Corrupt, match="store_other_chain"):
        ChainStore.open(tmp_path / "chain", Hash(b"\x01" * 32))
