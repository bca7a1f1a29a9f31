"""What the number of seats costs a block: 4 of them up to `--largest`, twice as many each time.

The real consensus core in the seeded simulator: honest validators, 20 ms from each to each, blocks
with next to nothing in them. Virtual time passes only where the simulator says so, which charges
nothing for computing: `core_ms` is what a seat's core really took of a processor for each block,
its signature checks included, codec and sockets not. Every figure is a seat's mean per block, or
of all seats together where it says `total`.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from p2p_aios.codec import schema
from p2p_aios.consensus import committee
from p2p_aios.consensus.events import Event, Output, Received
from p2p_aios.crypto.keys import KeyPair, is_signed
from p2p_aios.errors import Invalid, invariant
from p2p_aios.types.block import Proposal
from p2p_aios.types.message import CommitteeMessage, encode_message
from p2p_aios.types.vote import SEATS_MAX, Certificate, Vote
from p2p_aios.units import Address, Hash, PublicKey, Signature
from testnet.bench.growth import growth_figures, sizes_up_to
from testnet.simulate.conditions import Conditions
from testnet.simulate.figures import finality_ms
from testnet.simulate.surroundings import Surroundings
from testnet.simulate.validator import Validator
from testnet.simulate.world import World

NAME: Final = "committee"

SMALLEST: Final = 4
LARGEST: Final = SEATS_MAX
"""As many seats as there can be: a minute or two."""
DELAY_MS: Final = 20
WARM_UP_MS: Final = 3_000
MEASURED_MS: Final = 10_000
EPOCH_BLOCKS: Final = 1_000
"""More than are made: committees change nothing of the figures."""


@dataclass(slots=True)
class Tally:
    """What a seat did."""

    messages: int = 0
    """Sent, each recipient's counted."""
    bytes: int = 0
    certificate_bytes: int = 0
    """Of `bytes`, those of certificates."""
    signatures: int = 0
    """In the messages it received."""
    checks: int = 0
    """Of them, checked; the others belonged to what was known or decided."""
    core_s: float = 0.0


class CountedSeat(Validator):
    """A validator whose work is counted."""

    def __init__(self, world: Surroundings, index: int, keys: KeyPair) -> None:
        super().__init__(world, index, keys)
        self.tally = Tally()

    def step(self, event: Event) -> tuple[Output, ...]:
        if isinstance(event, Received):
            self.tally.signatures += _signatures(event.message)
        with _checks_counted(self._count_check):
            begun = time.thread_time()
            outputs = super().step(event)
            self.tally.core_s += time.thread_time() - begun
        return outputs

    def _count_check(self) -> None:
        self.tally.checks += 1

    def transmit(self, recipients: tuple[Address, ...], message: CommitteeMessage) -> None:
        size = len(recipients) * len(encode_message(message))
        self.tally.messages += len(recipients)
        self.tally.bytes += size
        self.tally.certificate_bytes += size * isinstance(message, Certificate)
        super().transmit(recipients, message)


class CountedWorld(World):
    """All of whose validators are honest, and counted."""

    def make_validator(self, index: int) -> Validator:
        return CountedSeat(self, index, self.keys[index])

    def tallies(self) -> list[Tally]:
        return [seat.tally for seat in self.validators if isinstance(seat, CountedSeat)]


def measure(largest: int = LARGEST) -> tuple[dict[str, float], dict[str, float]]:
    """(figures, peers): means over the blocks of ten virtual seconds, at each number of seats.

    Raises Invalid(`committee_too_large`).
    """
    if largest > SEATS_MAX:
        raise Invalid("committee_too_large", f"a committee has at most {SEATS_MAX} seats")
    sizes = sizes_up_to(largest, SMALLEST, 2)
    return growth_figures({seats: _measure(seats) for seats in sizes}), {}


def _measure(seats: int) -> dict[str, float]:
    world = CountedWorld(
        Conditions(
            nodes=seats,
            heal_ms=0,
            duration_ms=WARM_UP_MS + MEASURED_MS,
            delay_ms=(DELAY_MS, DELAY_MS),
            epoch_blocks=EPOCH_BLOCKS,
        )
    )
    witness = world.validators[0]
    world.run_until(WARM_UP_MS)
    height = witness.ledger.height
    for validator in world.validators:
        assert isinstance(validator, CountedSeat)
        validator.tally = Tally()
    world.run_until(WARM_UP_MS + MEASURED_MS)
    blocks = witness.ledger.height - height
    certificate = witness.ledger.blocks[-1].certificate
    invariant(blocks > 0 and certificate is not None, "a healthy committee gets on")
    invariant(world.invariants.nullified_views == 0, "nobody waits in vain")
    return _figures(world.tallies(), seats * blocks) | {
        "certificate_bytes": len(schema.encode(certificate)),
        "finality_p50_ms": statistics.median(finality_ms(witness, above=height)),
    }


def _figures(tallies: list[Tally], turns: int) -> dict[str, float]:
    """Per block and seat; a turn is a block seen by one seat."""
    seats = len(tallies)
    messages = sum(tally.messages for tally in tallies) / turns
    sent = sum(tally.bytes for tally in tallies) / turns
    checks = sum(tally.checks for tally in tallies) / turns
    return {
        "messages": messages,
        "messages_total": seats * messages,
        "kilobytes": sent / 1000,
        "kilobytes_total": seats * sent / 1000,
        "certificate_kilobytes": sum(tally.certificate_bytes for tally in tallies) / turns / 1000,
        "signatures_checked": checks,
        "signatures_spared": sum(tally.signatures for tally in tallies) / turns - checks,
        "core_ms": 1000 * sum(tally.core_s for tally in tallies) / turns,
    }


def _signatures(message: CommitteeMessage) -> int:
    match message:
        case Vote() | Proposal():
            return 1
        case Certificate(signatures=signatures):
            return len(signatures)
        case _:
            return 0


@contextmanager
def _checks_counted(count: Callable[[], None]) -> Iterator[None]:
    """While it lasts, `count` is told of every signature that the rules of committees check."""

    def counted(key: PublicKey, digest: Hash, signature: Signature) -> bool:
        count()
        return is_signed(key, digest, signature)

    # The core has no hook for this and needs none: a bench may reach in.
    setattr(committee, is_signed.__name__, counted)
    try:
        yield
    finally:
        setattr(committee, is_signed.__name__, is_signed)
