"""A validator's beacon chains: finding the one in use, and registering the next before it ends.

A chain grows from the validator's key, the network's name and a generation number, counted up from
the genesis one, so nothing but the key is needed to find it again: the state names the anchor in
use and the one that follows it. A new anchor counts two epochs after its registration
(`ledger.beacon`); until then both chains are kept.
"""

import logging
from typing import Final

import trio

from p2p_aios.crypto.beacon import BeaconChain, beacon_chain, beacon_seed
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.beacon import ANCHOR_DELAY_EPOCHS, BeaconPosition, is_anchor_pending
from p2p_aios.ledger.environment import epoch_of
from p2p_aios.ledger.queries import read_beacon_position, read_validator
from p2p_aios.node.chain import Chain
from p2p_aios.node.transactions import Transactions
from p2p_aios.types.transaction import SetBeaconAnchor
from p2p_aios.units import Amount, Hash, Height

LOW_DIVISOR: Final = 20
"""The next chain is registered when less than 1/20 of this one is left..."""
MARGIN_EPOCHS: Final = ANCHOR_DELAY_EPOCHS + 2
"""...or less than these epochs' blocks: until the next one counts, and two epochs more."""
GENERATIONS_MAX: Final = 256
"""Generations searched for an anchor. The longest chains take half a second each to make, and last
for weeks at least."""

RETRY_BLOCKS: Final = 4
"""Before a registration that was refused, or got lost, is tried again."""

log = logging.getLogger(__name__)


class Beacon:
    """The chains of one validator key."""

    def __init__(self, chain: Chain, transactions: Transactions, key: KeyPair) -> None:
        self._chain = chain
        self._transactions = transactions
        self._key = key
        self._length = chain.params.beacon_chain_length
        self._anchors: list[Hash] = []
        """By generation, as far as they were made."""
        self._held: dict[Hash, BeaconChain] = {}
        self._foreign: Hash | None = None
        """An anchor that is of no generation."""
        self._registering: Hash | None = None
        """The transaction that registers the next chain, while it waits."""
        self._retry_at = Height(0)
        """When a registration that was refused is tried again."""
        self._moved = trio.Event()

    def reveal(self, position: BeaconPosition) -> Hash:
        """What a block at this position reveals.

        Raises Unavailable: `unknown_beacon`, `beacon_exhausted`.
        """
        held = self._held.get(position.anchor)
        if held is None:
            raise Unavailable("unknown_beacon", "the registered beacon chain is not this key's")
        return held.reveal(position.reveals)

    def moved(self) -> None:
        """A block became final."""
        self._moved.set()

    async def follow(self) -> None:
        """Have the chains ready that the state names."""
        with self._chain.state() as state:
            validator = read_validator(state, self._key.address)
        if validator is None:
            return
        named = (validator.anchor, validator.next_anchor)
        for anchor in named:
            if anchor is not None and anchor not in self._held and anchor != self._foreign:
                await self._find(anchor)
        self._held = {anchor: held for anchor, held in self._held.items() if anchor in named}

    async def run(self) -> None:
        """Follow the state and register the next chain in time, until cancelled."""
        while True:
            self._moved = trio.Event()
            await self.follow()
            generation = self._generation_due()
            if generation is not None and not self._is_waiting():
                await self._register(generation)
            await self._moved.wait()

    def _generation_due(self) -> int | None:
        """The generation to register now, if any."""
        tip, params = self._chain.tip, self._chain.params
        epoch = epoch_of(tip.height + 1, params)
        with self._chain.state() as state:
            validator = read_validator(state, self._key.address)
            position = read_beacon_position(state, self._key.address, epoch)
        if validator is None or position is None or position.anchor not in self._held:
            return None
        left = self._length - position.reveals
        low = max(self._length // LOW_DIVISOR, MARGIN_EPOCHS * params.epoch_blocks)
        if is_anchor_pending(validator, epoch) or left > low:
            return None
        return self._anchors.index(position.anchor) + 1

    def _is_waiting(self) -> bool:
        if self._registering is not None and self._transactions.mempool.contains(self._registering):
            return True
        return self._chain.tip.height < self._retry_at

    async def _register(self, generation: int) -> None:
        self._retry_at = Height(self._chain.tip.height + RETRY_BLOCKS)
        if generation >= GENERATIONS_MAX:
            log.error("beacon chain %d is this key's last: register a new validator", generation)
            return
        anchor = (await self._make(generation)).anchor
        try:
            # A validator's anchor is free of fees while none is pending.
            action = SetBeaconAnchor(anchor)
            self._registering = await self._transactions.submit_own(self._key, action, Amount(0))
        except (Invalid, Unavailable) as error:
            log.error("beacon chain %d cannot be registered: %s", generation, error)
        else:
            log.info("beacon chain %d is being registered", generation)

    async def _find(self, anchor: Hash) -> None:
        """Hold the chain of `anchor`, if one of our generations has it."""
        known = self._anchors.index(anchor) if anchor in self._anchors else len(self._anchors)
        for generation in range(known, GENERATIONS_MAX):
            made = await self._make(generation)
            if made.anchor == anchor:
                self._held[anchor] = made
                return
        self._foreign = anchor
        log.error(
            "the beacon anchor %s registered for %s is not of this key: this validator proposes no"
            " blocks until it signs a SetBeaconAnchor for a chain of its own",
            anchor.hex()[:16],
            format_address(self._key.address),
        )

    async def _make(self, generation: int) -> BeaconChain:
        seed = beacon_seed(self._key.secret, self._chain.genesis.network, generation)
        made = await trio.to_thread.run_sync(beacon_chain, seed, self._length)
        if generation == len(self._anchors):
            self._anchors.append(made.anchor)
        return made
