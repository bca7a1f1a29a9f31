"""A validator's beacon chain: sha256 iterated from a secret, revealed backwards (DESIGN §6).

    x_0 = sha256("aios/beacon-chain/v1" || seed),  x_{i+1} = sha256(x_i),  anchor = x_length

The anchor is registered; each block its owner proposes reveals the preimage of the last one, so a
reveal is fixed long before anyone knows which block will carry it. 2^20 elements take about half a
second to make once and 32 KiB to keep: one element in 1,024 is stored.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.units import Hash

STRIDE: Final = 1024
"""Elements from one checkpoint to the next: most hashes a reveal costs."""
LENGTH_MAX: Final = 1 << 24
SEED_BYTES_MIN: Final = 16


@dataclass(frozen=True, slots=True)
class BeaconChain:
    """A chain with checkpoints."""

    anchor: Hash
    length: int
    """Reveals it has."""
    checkpoints: tuple[bytes, ...] = field(repr=False)
    """x_0, x_STRIDE, x_2·STRIDE, … below the anchor; secret."""

    def reveal(self, number: int) -> Hash:
        """The reveal after `number` earlier ones: sha256 of it is the one before, or the anchor.

        Raises Unavailable(`beacon_exhausted`) past the chain's end: register a new anchor.
        """
        if not 0 <= number < self.length:
            raise Unavailable(
                "beacon_exhausted", f"all {self.length} reveals are used; set a new beacon anchor"
            )
        index = self.length - 1 - number
        return Hash(_iterate(self.checkpoints[index // STRIDE], index % STRIDE))


def beacon_seed(validator_secret: bytes, network: str, generation: int = 0) -> bytes:
    """What a chain of a validator grows from: its key and the network's name restore it.

    Generation 0 is the one named in genesis or at registration; each later one replaces the one
    before it. A key that serves two networks shows nothing of one on the other: any element of a
    chain gives away all that follow it there.
    """
    number = generation.to_bytes(8, "big")
    return hashlib.sha256(b"aios/beacon/v1" + validator_secret + number + network.encode()).digest()


def beacon_chain(secret_seed: bytes, length: int) -> BeaconChain:
    """The chain of `length` reveals that grows from `secret_seed`.

    Raises Invalid: `beacon_length_invalid`, `beacon_seed_short`.
    """
    if not 1 <= length <= LENGTH_MAX:
        raise Invalid("beacon_length_invalid", f"a chain has 1..{LENGTH_MAX} reveals, not {length}")
    if len(secret_seed) < SEED_BYTES_MIN:
        raise Invalid("beacon_seed_short", f"the secret needs at least {SEED_BYTES_MIN} bytes")
    element = hashlib.sha256(b"aios/beacon-chain/v1" + secret_seed).digest()
    checkpoints = [element]
    strides, rest = divmod(length, STRIDE)
    for _ in range(strides):
        element = _iterate(element, STRIDE)
        checkpoints.append(element)
    return BeaconChain(Hash(_iterate(element, rest)), length, tuple(checkpoints))


def _iterate(element: bytes, times: int) -> bytes:
    sha256 = hashlib.sha256
    for _ in range(times):
        element = sha256(element).digest()
    return element
