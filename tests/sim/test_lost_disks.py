"""A validator that lost its chain, or all it had, follows the chain again from its genesis.

It never signs against what it signed before: `World`'s invariants hold every vote against it that
it ever sent.
"""

import pytest

from p2p_aios.consensus.events import Synced
from p2p_aios.consensus.records import Forgotten, JournalBirth
from p2p_aios.units import Address, Height, Millis
from testnet.simulate.application import Ledger
from testnet.simulate.conditions import Conditions
from testnet.simulate.validator import Validator
from testnet.simulate.world import World

RUN_BLOCKS = 3
"""Blocks fetched at a time; between two fetches consensus stands on the first one's end."""


def lose_chain(victim: Validator) -> None:
    """What the operator moves away after `store_damaged`; the journal stays, cut up to the tip."""
    tip = victim.ledger.anchor().certificate
    assert tip is not None
    victim.journal.insert(0, Forgotten(tip.ballot.epoch, tip.ballot.view))


def lose_everything(victim: Validator) -> None:
    """The whole data folder is gone: chain and journal seem to begin together."""
    victim.journal.clear()
    victim.birth = JournalBirth(Millis(victim.now().wall_ms), Height(0))


def fetch_slowly(world: World, victim: Validator, pause_ms: int) -> None:
    """Deliver the chain in short runs, as the sync planner does, with a pause after each."""

    def fetch(peer: Address) -> None:
        source = world.validators[0].ledger
        for finalized in source.blocks[victim.ledger.height :][:RUN_BLOCKS]:
            victim._append(finalized)
        victim.feed(Synced(victim.ledger.anchor(), victim.ledger.next_term()))
        if victim.ledger.height < source.height:
            victim._later(pause_ms, lambda: fetch(peer))
        else:
            victim._is_syncing = False

    victim._sync = fetch  # type: ignore[method-assign]


@pytest.mark.parametrize("lose", [lose_chain, lose_everything])
@pytest.mark.parametrize("pause_ms", [5, 30, 400, 1000])
@pytest.mark.parametrize("away_ms", [200, 6_000])
def test_what_is_lost_is_not_signed_again(lose, pause_ms: int, away_ms: int) -> None:
    world = World(Conditions(seed=away_ms + pause_ms, heal_ms=0, epoch_blocks=6))
    world.run_until(9_000)
    victim = world.validators[3]
    victim.crash()
    lose(victim)
    victim.ledger = Ledger(world.keys, world.params, world.conditions.weights)
    fetch_slowly(world, victim, pause_ms)
    world.run_until(9_000 + away_ms)
    victim.start()
    world.run_until(45_000)
    assert victim.core is not None
    assert not victim.core.is_silent, "later epochs are signed in again"
    assert victim.ledger.height >= world.validators[0].ledger.height - 1
