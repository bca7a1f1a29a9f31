"""Virtual time, the network between validators, and the faults that befall them."""

import heapq
import random
from collections.abc import Callable
from functools import partial
from itertools import count

from p2p_aios.types.message import CommitteeMessage, decode_message, encode_message
from p2p_aios.units import Address
from testnet.simulate.application import GENESIS_MS, Ledger, simulated_keys, simulated_params
from testnet.simulate.conditions import Conditions, Fault
from testnet.simulate.invariants import BLOCKS_AFTER_HEALING, Invariants
from testnet.simulate.validator import Validator
from testnet.simulate.villains import villain

START_MS = 1000
"""Virtual time at which validators come up, a second after genesis' timestamp."""

PATIENCE_MS = 100_000
"""How long a healed world may take to get on: a few views whose Δ has grown to its limit."""


class World:
    """A heap of things to happen, and everyone they happen to."""

    def __init__(self, conditions: Conditions) -> None:
        self.conditions = conditions
        self.now_ms = 0
        self.dice = random.Random(f"world/{conditions.seed}")
        self.params = simulated_params(conditions.epoch_blocks)
        self.keys = [simulated_keys(i) for i in range(conditions.nodes)]
        self.invariants = Invariants(
            self.params,
            [k.address for i, k in enumerate(self.keys) if i not in conditions.villains],
        )
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._cuts: list[frozenset[Address]] = []
        self.validators = [self.make_validator(i) for i in range(conditions.nodes)]
        self._by_address = {v.keys.address: v for v in self.validators}
        for validator in self.validators:
            self.later(START_MS, validator.start)
        for fault in conditions.faults:
            self._plan(fault)

    def make_validator(self, index: int) -> Validator:
        """The one the conditions ask for, not yet started."""
        kind = villain(self.conditions.villains.get(index))
        return kind(self, index, self.keys[index])

    @property
    def honest(self) -> list[Validator]:
        return [v for v in self.validators if v.index not in self.conditions.villains]

    def has_progressed(self, height: int) -> bool:
        """Whether everyone honest got well past `height`."""
        return all(v.ledger.height >= height + BLOCKS_AFTER_HEALING for v in self.honest)

    def wall_ms(self) -> int:
        return GENESIS_MS + self.now_ms

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (self.now_ms + delay_ms, next(self._order), action))

    def run_until(self, until_ms: int) -> None:
        while self._heap and self._heap[0][0] <= until_ms:
            self.now_ms, _, action = heapq.heappop(self._heap)
            action()
        self.now_ms = until_ms

    def draw(self, bounds: tuple[int, int]) -> int:
        return self.dice.randint(*bounds)

    @property
    def is_healed(self) -> bool:
        return self.now_ms >= self.conditions.heal_ms

    # The network

    def send(
        self, sender: Address, recipients: tuple[Address, ...], message: CommitteeMessage
    ) -> None:
        """Carry a message, as bytes, to each recipient by its own way."""
        decoded = decode_message(encode_message(message))
        for recipient in recipients:
            if not self.is_cut(sender, recipient) and not self._is_lost():
                self._carry(sender, recipient, decoded)
                if self.dice.random() < self.conditions.duplicate_share:
                    self._carry(sender, recipient, decoded)

    def _carry(self, sender: Address, recipient: Address, message: CommitteeMessage) -> None:
        delay = self.draw(self.conditions.delay_ms)
        if self.dice.random() < self.conditions.spike_share and not self.is_healed:
            delay *= self.dice.randint(2, 10)
        target = self._by_address[recipient]
        self.later(delay, lambda: target.receive(sender, message))

    def _is_lost(self) -> bool:
        return not self.is_healed and self.dice.random() < self.conditions.loss_share

    def is_cut(self, one: Address, other: Address) -> bool:
        return any((one in side) != (other in side) for side in self._cuts)

    def tell_peers(self, of: Address, is_up: bool) -> None:
        """Let everyone notice, after a while, that a validator's streams broke or stand."""
        for peer in self.validators:
            if peer.keys.address != of:
                self.later(self.conditions.detect_ms, partial(self._notice, peer, of, is_up))

    def _notice(self, peer: Validator, of: Address, is_up: bool) -> None:
        # A stream told to stand may have broken again meanwhile.
        peer.notice(of, is_up and self._by_address[of].is_up)

    def answering(self, asker: Address, peer: Address) -> Ledger | None:
        within_reach = [
            v for v in self.honest if v.is_up and not self.is_cut(v.keys.address, asker)
        ]
        if not within_reach:
            return None
        return max(within_reach, key=lambda v: (v.ledger.height, v.keys.address == peer)).ledger

    # Faults

    def _plan(self, fault: Fault) -> None:
        members = [self.validators[i] for i in fault.members]
        if fault.kind == "partition":
            side = frozenset(v.keys.address for v in members)
            self.later(fault.at_ms, lambda: self._cuts.append(side))
            self.later(fault.until_ms, lambda: self._cuts.remove(side))
            return
        for validator in members:
            self.later(fault.at_ms, validator.crash)
            if fault.kind == "amnesia":
                self.later(fault.at_ms, validator.forget)
            self.later(fault.until_ms, validator.start)


def run_world(conditions: Conditions) -> World:
    """Live through a world; raises AssertionError, naming the seed, where a promise is broken."""
    world = World(conditions)
    try:
        world.run_until(conditions.heal_ms)
        healed = max(v.ledger.height for v in world.honest)
        for validator in world.honest:
            validator.start()
        world.run_until(conditions.duration_ms)
        while not world.has_progressed(healed) and world.now_ms < conditions.heal_ms + PATIENCE_MS:
            world.run_until(world.now_ms + 1000)
        world.invariants.require_progress(world.honest, healed, conditions)
    except BaseException as error:
        error.add_note(f"seed {conditions.seed}, nodes {conditions.nodes}: {conditions}")
        error.add_note(_replay_command(conditions))
        raise
    return world


def _replay_command(conditions: Conditions) -> str:
    """What lives through a drawn world again; villains of one kind may have been asked for."""
    command = f"python -m testnet.simulate --seed {conditions.seed} --nodes {conditions.nodes}"
    kinds = set(conditions.villains.values())
    return f"{command} --villain {kinds.pop()}" if len(kinds) == 1 else command
