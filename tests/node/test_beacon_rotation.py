"""A validator's beacon chain ends, and the next one is there in time, restarts or not.

Chains here last for a few epochs only.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2p_aios.crypto.beacon import beacon_chain, beacon_seed
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Unavailable
from p2p_aios.ledger.environment import epoch_of
from p2p_aios.ledger.queries import read_beacon_position, read_validator
from p2p_aios.node import beacon as module
from p2p_aios.node.beacon import Beacon
from p2p_aios.node.candidate import Candidate, Slot
from p2p_aios.node.chain import Chain
from p2p_aios.node.transactions import Transactions
from p2p_aios.types.transaction import SetBeaconAnchor
from p2p_aios.units import Amount, Millis, View
from tests.node.founders import NETWORK, PARAMS, Founders, key
from tests.node.quiet import open_transactions

EPOCH = 4
LENGTH = 40
FOUNDERS = Founders(1, replace(PARAMS, epoch_blocks=EPOCH, beacon_chain_length=LENGTH))
KEY = FOUNDERS.validators[0]


class Proposer:
    """A lone validator's chain, its mempool and its beacon."""

    def __init__(self, chain: Chain, transactions: Transactions, signer: KeyPair = KEY) -> None:
        self.chain = chain
        self.transactions = transactions
        self.beacon = Beacon(chain, transactions, signer)

    async def propose(self) -> Candidate:
        """Reveal, build with what waits, finalize, and tell the beacon."""
        chain = self.chain
        height = chain.tip.height + 1
        epoch = epoch_of(height, chain.params)
        with chain.state() as state:
            position = read_beacon_position(state, KEY.address, epoch)
        assert position is not None
        reveal = self.beacon.reveal(position)
        slot = Slot(epoch, View(1), Millis(height * 500), KEY.address, reveal)
        footing = chain.footing(chain.tip.hash)
        waiting = self.transactions.select(footing, chain.params.block_transactions_max)
        candidate, _ = await chain.build(footing, slot, waiting)
        certificate = FOUNDERS.certify(chain, candidate)
        final = await chain.finalize([candidate.hash], certificate)
        self.transactions.forget_finalized(final)
        self.beacon.moved()
        await trio.testing.wait_all_tasks_blocked(0.005)
        return candidate


@asynccontextmanager
async def open_proposer(folder: Path) -> AsyncIterator[Proposer]:
    async with FOUNDERS.open_chain(folder) as chain, open_transactions(chain) as transactions:
        proposer = Proposer(chain, transactions)
        await proposer.beacon.follow()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(proposer.beacon.run)
            yield proposer
            nursery.cancel_scope.cancel()


def registrations(candidate: Candidate) -> list[SetBeaconAnchor]:
    actions = [transaction.body.action for transaction in candidate.transactions]
    return [action for action in actions if isinstance(action, SetBeaconAnchor)]


async def test_chains_follow_each_other_without_a_gap(tmp_path: Path) -> None:
    async with open_proposer(tmp_path / "chain") as proposer:
        seen = []
        for _ in range(4 * LENGTH):
            seen += registrations(await proposer.propose())
        expected = [
            beacon_chain(beacon_seed(KEY.secret, NETWORK, generation), LENGTH).anchor
            for generation in range(1, len(seen) + 1)
        ]
        assert [each.anchor for each in seen] == expected
        assert len(seen) >= 4
        assert len(seen) <= 4 * LENGTH // (2 * EPOCH), "no more often than an anchor comes to count"


async def test_nothing_is_registered_while_enough_is_left(tmp_path: Path) -> None:
    async with open_proposer(tmp_path / "chain") as proposer:
        low = module.MARGIN_EPOCHS * EPOCH
        for _ in range(LENGTH - low - 1):
            assert registrations(await proposer.propose()) == []
        assert len(proposer.transactions.mempool) == 0
        await proposer.propose()
        assert len(registrations(await proposer.propose())) == 1


@pytest.mark.parametrize("blocks", [LENGTH - 14, LENGTH + 10, 2 * LENGTH + 3])
async def test_after_a_restart_the_right_chain_is_found(tmp_path: Path, blocks: int) -> None:
    folder = tmp_path / "chain"
    async with open_proposer(folder) as proposer:
        for _ in range(blocks):
            await proposer.propose()
    async with open_proposer(folder) as proposer:
        for _ in range(LENGTH):
            await proposer.propose()


async def test_a_lost_registration_is_made_again(tmp_path: Path) -> None:
    async with open_proposer(tmp_path / "chain") as proposer:
        while not len(proposer.transactions.mempool):
            await proposer.propose()
        for id in [each.id for each in proposer.transactions.mempool.take_unannounced(1 << 20)]:
            proposer.transactions.mempool.remove(id)
        for _ in range(module.RETRY_BLOCKS):
            await proposer.propose()
        assert registrations(await proposer.propose()) != []


async def test_a_key_that_is_no_validators_has_nothing_to_do(tmp_path: Path) -> None:
    async with FOUNDERS.open_chain(tmp_path / "chain") as chain, open_transactions(chain) as pool:
        beacon = Beacon(chain, pool, key("stranger"))
        await beacon.follow()
        await FOUNDERS.history(chain, LENGTH - 1)
        await beacon.follow()
        assert len(pool.mempool) == 0


async def test_an_anchor_of_another_key_is_said_once_and_reveals_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "GENERATIONS_MAX", 3)
    foreign = Founders(1, replace(FOUNDERS.params, beacon_chain_length=LENGTH + 1))
    genesis = replace(
        FOUNDERS.genesis,
        validators=(
            replace(FOUNDERS.genesis.validators[0], beacon_anchor=foreign.beacons[0].anchor),
        ),
    )
    misfit = Founders(1, FOUNDERS.params)
    vars(misfit)["genesis"] = genesis
    async with misfit.open_chain(tmp_path / "chain") as chain, open_transactions(chain) as pool:
        beacon = Beacon(chain, pool, KEY)
        with caplog.at_level(logging.ERROR):
            await beacon.follow()
            await beacon.follow()
        assert len(caplog.records) == 1
        with chain.state() as state:
            validator = read_validator(state, KEY.address)
            position = read_beacon_position(state, KEY.address, epoch_of(1, chain.params))
        assert validator is not None
        assert position is not None
        with pytest.raises(Unavailable, match="unknown_beacon"):
            beacon.reveal(position)


async def test_fees_are_not_needed(tmp_path: Path) -> None:
    async with open_proposer(tmp_path / "chain") as proposer:
        while not (found := (await proposer.propose()).transactions):
            pass
        assert found[0].body.fee == Amount(0)
        assert found[0].sender == KEY.address
