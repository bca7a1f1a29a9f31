"""A small chain's founders: their keys, its genesis, and blocks that they built and certified."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from p2p_aios.consensus.committee import Roster, assemble_certificate
from p2p_aios.crypto.beacon import BeaconChain, beacon_chain, beacon_seed
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.ledger.environment import epoch_of
from p2p_aios.ledger.queries import read_account, read_beacon_position, read_committee
from p2p_aios.network.identity import peer_id_of
from p2p_aios.node.candidate import Candidate, Slot
from p2p_aios.node.chain import Chain, open_chain
from p2p_aios.params import PRESETS, Params
from p2p_aios.store.chain import ChainStore
from p2p_aios.store.writer import SerialWriter
from p2p_aios.types.block import FinalizedBlock, block_hash
from p2p_aios.types.genesis import Genesis, GenesisAccount, GenesisValidator, chain_id
from p2p_aios.types.transaction import (
    Action,
    CheckedTransaction,
    TransactionBody,
    check_transaction,
    sign_transaction,
)
from p2p_aios.types.vote import Ballot, Certificate, Vote, VoteKind, ballot_digest
from p2p_aios.units import AIOS, Amount, Hash, Height, Millis, View

PARAMS = replace(
    PRESETS["fast"],
    epoch_blocks=8,
    beacon_chain_length=256,
    reveal_blocks_min=3,
    attest_blocks_min=3,
)
FUNDS = Amount(1000 * AIOS)
FEE = Amount(AIOS // 100)


def key(name: str) -> KeyPair:
    """A key that anyone can make again from its name."""
    return KeyPair.from_secret(sha256(name.encode()))


NETWORK = "test"
ALICE, BOB, POOR = key("alice"), key("bob"), key("poor")


@dataclass(frozen=True)
class Founders:
    """The validators of a test chain, in the order of their seats."""

    count: int = 4
    params: Params = PARAMS
    timestamp_ms: int = 0
    rich: tuple[KeyPair, ...] = (ALICE, BOB)
    """Who has FUNDS from the beginning."""

    @cached_property
    def validators(self) -> list[KeyPair]:
        made = [key(f"validator {number}") for number in range(self.count)]
        return sorted(made, key=lambda validator: validator.address)

    def peer(self, seat: int) -> KeyPair:
        return key(f"peer {seat}")

    @cached_property
    def beacons(self) -> list[BeaconChain]:
        length = self.params.beacon_chain_length
        seeds = [beacon_seed(each.secret, NETWORK) for each in self.validators]
        return [beacon_chain(seed, length) for seed in seeds]

    @cached_property
    def genesis(self) -> Genesis:
        founders = tuple(
            GenesisValidator(
                key(f"owner {seat}").address,
                validator.public_key,
                peer_id_of(self.peer(seat).secret),
                self.beacons[seat].anchor,
            )
            for seat, validator in enumerate(self.validators)
        )
        rich = tuple(GenesisAccount(each.address, FUNDS) for each in self.rich)
        return Genesis(NETWORK, Millis(self.timestamp_ms), self.params, 10**9, founders, rich)

    @property
    def chain_id(self) -> Hash:
        return chain_id(self.genesis)

    @asynccontextmanager
    async def open_chain(self, folder: Path, **options: int) -> AsyncIterator[Chain]:
        with ChainStore.open(folder, self.chain_id, sync=False, **options) as store:
            yield await open_chain(self.genesis, store, SerialWriter())

    def slot(self, chain: Chain, parent: Hash, view: int, seat: int | None = None) -> Slot:
        """The next one of a validator, by default in turns."""
        footing = chain.footing(parent)
        height = footing.height + 1
        seat = height % self.count if seat is None else seat
        address = self.validators[seat].address
        epoch = epoch_of(height, self.params)
        with chain.snapshot() as snapshot:
            position = read_beacon_position(chain.ground(footing, snapshot), address, epoch)
        assert position is not None
        reveal = self.beacons[seat].reveal(position.reveals)
        now = Millis(height * self.params.block_interval_ms + self.timestamp_ms)
        return Slot(epoch, View(view), now, address, reveal)

    async def build(
        self,
        chain: Chain,
        parent: Hash,
        *waiting: CheckedTransaction,
        view: int = 1,
        seat: int | None = None,
    ) -> Candidate:
        """A candidate with all of `waiting` in it."""
        slot = self.slot(chain, parent, view, seat)
        candidate, rejected = await chain.build(chain.footing(parent), slot, waiting)
        assert rejected == ()
        return candidate

    def certify(
        self, chain: Chain, candidate: Candidate, kind: VoteKind = VoteKind.FINALIZE
    ) -> Certificate:
        """By every validator."""
        header = candidate.block.header
        ballot = Ballot(kind, header.epoch, header.view, candidate.hash)
        digest = ballot_digest(self.chain_id, ballot)
        with chain.state() as state:
            committee = read_committee(state, header.epoch)
        assert committee is not None
        votes = [
            Vote(ballot, seat, validator.sign_digest(digest))
            for seat, validator in enumerate(self.validators)
        ]
        certificate = assemble_certificate(Roster(committee), votes)
        assert certificate is not None
        return certificate

    async def extend(self, chain: Chain, *waiting: CheckedTransaction) -> FinalizedBlock:
        """Build the tip's child and make it final."""
        candidate = await self.build(chain, chain.tip.hash, *waiting)
        certificate = self.certify(chain, candidate)
        await chain.finalize([candidate.hash], certificate)
        return FinalizedBlock(candidate.block, certificate)

    async def history(self, chain: Chain, count: int) -> list[FinalizedBlock]:
        return [await self.extend(chain) for _ in range(count)]

    def transaction(
        self, chain: Chain, sender: KeyPair, action: Action, /, **changes: object
    ) -> CheckedTransaction:
        """A valid one on the finalized state, but for `changes` to its body."""
        with chain.state() as state:
            nonce = read_account(state, sender.address).nonce
        expires = Height(chain.tip.height + 100)
        body = TransactionBody(self.chain_id, sender.public_key, nonce, FEE, expires, action)
        return sign_transaction(sender, replace(body, **changes))


async def replay(chain: Chain, blocks: Sequence[FinalizedBlock]) -> None:
    """Execute and finalize blocks made on another chain of the same genesis."""
    for final in blocks:
        checked = tuple(check_transaction(raw, chain.chain_id) for raw in final.block.transactions)
        await chain.execute(final.block, checked)
        assert final.certificate is not None
        await chain.finalize([block_hash(final.block.header)], final.certificate)
