"""Blocks become final once and in order, whichever ways they come; listeners hear it all."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from p2p_aios.errors import Corrupt
from p2p_aios.node.candidate import Candidate
from p2p_aios.node.chain import Chain
from p2p_aios.node.finality import Finality
from p2p_aios.node.terms import anchor_of, term_after
from p2p_aios.units import Height
from tests.node.founders import Founders

FOUNDERS = Founders()


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[Chain]:
    async with FOUNDERS.open_chain(tmp_path / "chain") as opened:
        yield opened


async def branch(chain: Chain, count: int) -> list[Candidate]:
    """Candidates one on the other, above the tip."""
    made = [await FOUNDERS.build(chain, chain.tip.hash)]
    for view in range(2, count + 1):
        made.append(await FOUNDERS.build(chain, made[-1].hash, view=view))
    return made


async def test_overlapping_orders_at_once_make_each_block_final_once(chain: Chain) -> None:
    made = await branch(chain, 6)
    heard: list[int] = []
    finality = Finality(chain)
    finality.listen(lambda final, _: heard.extend(c.block.header.height for c in final))

    async def finalize(last: int) -> None:
        hashes = [candidate.hash for candidate in made[:last]]
        await finality.finalize(hashes, FOUNDERS.certify(chain, made[last - 1]))

    async with trio.open_nursery() as nursery:
        for last in (3, 2, 6, 5, 6):
            nursery.start_soon(finalize, last)
    assert heard == [1, 2, 3, 4, 5, 6]
    assert chain.tip.hash == made[-1].hash


async def test_listeners_hear_in_their_order_when_it_is_on_disk(chain: Chain) -> None:
    (made,) = await branch(chain, 1)
    heard: list[str] = []
    finality = Finality(chain)
    for name in ("first", "second"):
        finality.listen(lambda *_, name=name: heard.append(f"{name} {chain.tip.height}"))
    await finality.finalize([made.hash], FOUNDERS.certify(chain, made))
    await finality.finalize([made.hash], FOUNDERS.certify(chain, made))
    assert heard == ["first 1", "second 1"]


async def test_a_cancelled_order_is_whole_or_nothing(chain: Chain) -> None:
    made = await branch(chain, 3)
    finality = Finality(chain)
    with trio.CancelScope() as scope:
        scope.cancel()
        await finality.finalize([c.hash for c in made], FOUNDERS.certify(chain, made[-1]))
    assert chain.tip.height == 0
    await finality.finalize([c.hash for c in made], FOUNDERS.certify(chain, made[-1]))
    assert chain.tip.height == 3


async def test_consensus_begins_from_the_tip_and_its_epoch(chain: Chain) -> None:
    anchor = anchor_of(chain)
    assert (anchor.block, anchor.height, anchor.certificate) == (chain.chain_id, 0, None)
    assert term_after(chain, Height(0)).committee.epoch == 0
    final = (await FOUNDERS.history(chain, FOUNDERS.params.epoch_blocks))[-1]
    anchor, term = anchor_of(chain), term_after(chain, chain.tip.height)
    assert (anchor.block, anchor.certificate) == (chain.tip.hash, final.certificate)
    assert term.committee.epoch == 1
    assert term.started_ms == final.block.header.timestamp_ms


async def test_a_tip_without_certificate_is_corrupt(chain: Chain) -> None:
    made = await branch(chain, 2)
    await chain.finalize([made[0].hash, made[1].hash], FOUNDERS.certify(chain, made[1]))
    chain.tip = type(chain.tip)(Height(1), made[0].hash, chain.tip.timestamp_ms, 0, None)
    with pytest.raises(Corrupt, match="store_damaged"):
        anchor_of(chain)
