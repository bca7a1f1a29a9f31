"""Blocks of transfers in one process, from signed bytes to the synced disk.

Each measured block is treated as a stranger's, of which nothing is known beforehand: signatures are
checked, the block is executed on its parent's state, every commitment of its header compared, and
the whole committed with fsync. Another chain in the same process signs and builds the blocks, which
is not measured. Medians over blocks. No peer of this kind runs from a package.
"""

import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from p2p_aios.consensus.committee import Roster, assemble_certificate
from p2p_aios.crypto.beacon import BeaconChain, beacon_chain, beacon_seed
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.crypto.keystore import generate_key
from p2p_aios.errors import invariant
from p2p_aios.ledger.accounts import fee_min
from p2p_aios.ledger.queries import read_beacon_position, read_committee
from p2p_aios.node.candidate import Candidate, Slot
from p2p_aios.node.chain import Chain, open_chain
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.writer import SerialWriter
from p2p_aios.types.genesis import Genesis, chain_id
from p2p_aios.types.transaction import (
    CheckedTransaction,
    TransactionBody,
    Transfer,
    check_transaction,
    sign_transaction,
)
from p2p_aios.types.vote import Ballot, Certificate, Vote, VoteKind, ballot_digest
from p2p_aios.units import AIOS, Address, Amount, Epoch, Height, Millis, View
from testnet.genesis import make_genesis, make_validator_keys, params_of
from testnet.quantiles import median

NAME: Final = "execute"

ACCOUNTS: Final = 2_000
"""Senders, funded by genesis."""
RECIPIENTS: Final = 100_000
"""Addresses that money goes to: most of them are new when it arrives."""
TRANSFERS: Final = 2_000
"""In one block."""
BLOCKS: Final = 12
BALANCE: Final = Amount(1_000 * AIOS)
AMOUNT: Final = Amount(1_000)
FEE_BYTES: Final = 512
"""More than a transfer takes; prices its fee."""
SEED: Final = 7


@dataclass(frozen=True, slots=True)
class World:
    """A chain's only validator, and everybody else."""

    genesis: Genesis
    validator: KeyPair
    beacon: BeaconChain
    senders: list[KeyPair]
    recipients: list[Address]


def measure(blocks: int = BLOCKS) -> tuple[dict[str, float], dict[str, float]]:
    """(figures, peers): `blocks` full ones after one that warms up."""
    return trio.run(_measure, blocks)


async def _measure(blocks: int) -> tuple[dict[str, float], dict[str, float]]:
    world, rng = _make_world(), random.Random(SEED)
    identity, writer = chain_id(world.genesis), SerialWriter()
    seconds: dict[str, list[float]] = {"check": [], "execute": [], "commit": []}
    with (
        tempfile.TemporaryDirectory(prefix="aios-bench-execute-") as folder,
        ChainStore.open(Path(folder) / "made", identity, sync=False) as made,
        ChainStore.open(Path(folder) / "followed", identity) as followed,
    ):
        source = await open_chain(world.genesis, made, writer)
        chain = await open_chain(world.genesis, followed, writer)
        for nonce in range(blocks + 1):
            transfers = _transfers(world, chain, nonce, rng)
            candidate = await _build(world, source, transfers)
            certificate = _certify(world, source, candidate)
            took = await _follow(chain, candidate, certificate)
            await source.finalize([candidate.hash], certificate)
            for phase, took_s in zip(seconds, took, strict=True):
                seconds[phase] += [took_s] if nonce else []
    return _figures(seconds), {}


def _figures(seconds: dict[str, list[float]]) -> dict[str, float]:
    whole = median([sum(parts) for parts in zip(*seconds.values(), strict=True)])
    invariant(whole is not None, "at least one block is measured")
    assert whole is not None
    figures = {"transfers_per_s": TRANSFERS / whole}
    for phase, samples in seconds.items():
        figures[f"{phase}_us_per_transfer"] = 1e6 * (median(samples) or 0) / TRANSFERS
    return {name: round(value, 2) for name, value in figures.items()}


def _make_world() -> World:
    founder = make_validator_keys()
    senders = [generate_key() for _ in range(ACCOUNTS)]
    params = params_of("testnet")
    genesis = make_genesis(
        "bench-execute", params, (founder,), {key.address: BALANCE for key in senders}
    )
    seed = beacon_seed(founder.validator.secret, genesis.network)
    beacon = beacon_chain(seed, params.beacon_chain_length)
    rng = random.Random(SEED)
    recipients = [Address(rng.randbytes(20)) for _ in range(RECIPIENTS)]
    return World(genesis, founder.validator, beacon, senders, recipients)


def _transfers(
    world: World, chain: Chain, nonce: int, rng: random.Random
) -> list[CheckedTransaction]:
    fee, expires = Amount(fee_min(chain.params, FEE_BYTES)), Height(chain.tip.height + 100)
    return [
        sign_transaction(
            key,
            TransactionBody(
                chain_id=chain.chain_id,
                sender=key.public_key,
                nonce=nonce,
                fee=fee,
                expires=expires,
                action=Transfer(rng.choice(world.recipients), AMOUNT),
            ),
        )
        for key in world.senders[:TRANSFERS]
    ]


async def _build(world: World, chain: Chain, transfers: Sequence[CheckedTransaction]) -> Candidate:
    footing = chain.footing(chain.tip.hash)
    with chain.state() as state:
        position = read_beacon_position(state, world.validator.address, Epoch(0))
    invariant(position is not None, "the founder is registered")
    assert position is not None
    slot = Slot(
        Epoch(0),
        View(footing.height + 1),
        Millis(chain.tip.timestamp_ms + chain.params.block_interval_ms),
        world.validator.address,
        world.beacon.reveal(position.reveals),
    )
    candidate, rejected = await chain.build(footing, slot, transfers)
    invariant(not rejected, "every transfer can be included")
    return candidate


def _certify(world: World, chain: Chain, candidate: Candidate) -> Certificate:
    header = candidate.block.header
    ballot = Ballot(VoteKind.FINALIZE, header.epoch, header.view, candidate.hash)
    signature = world.validator.sign_digest(ballot_digest(chain.chain_id, ballot))
    with chain.state() as state:
        committee = read_committee(state, header.epoch)
    invariant(committee is not None, "the epoch has its committee")
    assert committee is not None
    certificate = assemble_certificate(Roster(committee), [Vote(ballot, 0, signature)])
    invariant(certificate is not None, "one validator is a quorum of one")
    assert certificate is not None
    return certificate


async def _follow(
    chain: Chain, candidate: Candidate, certificate: Certificate
) -> tuple[float, float, float]:
    """Seconds to check, to execute, to commit."""
    block, begun = candidate.block, time.perf_counter()
    checked = tuple(check_transaction(raw, chain.chain_id) for raw in block.transactions)
    are_checked = time.perf_counter()
    await chain.execute(block, checked)
    is_executed = time.perf_counter()
    await chain.finalize([candidate.hash], certificate)
    is_final = time.perf_counter()
    return are_checked - begun, is_executed - are_checked, is_final - is_executed
