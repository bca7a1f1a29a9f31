"""What a simulated validator knows of its world: a clock, dice, a network, and who watches.

The port between `validator`, with its villains, and `world`, which makes them and is all of this.
"""

import random
from collections.abc import Callable
from typing import Protocol

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.params import Params
from p2p_aios.types.message import CommitteeMessage
from p2p_aios.units import Address
from testnet.simulate.application import Ledger
from testnet.simulate.conditions import Conditions
from testnet.simulate.invariants import Invariants


class Surroundings(Protocol):
    """One per world; times in virtual milliseconds."""

    conditions: Conditions
    params: Params
    keys: list[KeyPair]
    """Of all validators, by index."""
    invariants: Invariants
    dice: random.Random
    now_ms: int

    @property
    def is_healed(self) -> bool:
        """Whether the time of faults and losses is over."""

    def wall_ms(self) -> int:
        """What a right clock shows."""

    def draw(self, bounds: tuple[int, int]) -> int:
        """A number from the first bound to the second, both included."""

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        """Do something after a while."""

    def send(
        self, sender: Address, recipients: tuple[Address, ...], message: CommitteeMessage
    ) -> None:
        """Carry a message to each recipient, as well as the network can."""

    def tell_peers(self, of: Address, is_up: bool) -> None:
        """Let the others notice that a validator's streams stand or broke."""

    def answering(self, asker: Address, peer: Address) -> Ledger | None:
        """The ledger an honest validator within reach answers catch-up from: the longest, of
        equals that of `peer`."""
