"""Draws from the beacon: uniform, without bias, the same for everyone.

The seed must be a mix that became known after whatever is drawn from was fixed (DESIGN §6).
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import invariant
from p2p_aios.units import Hash

T = TypeVar("T")

_WORD: Final = 2**256
"""Wide enough for any bound, the sums of the contribution trie (128 bits) included."""


def draw_seed(purpose: str, mix: Hash, subject: bytes) -> Hash:
    """Separates the draws of one mix by what they are for."""
    return sha256(b"aios/draw-" + purpose.encode() + b"/v1" + mix + subject)


def draw_distinct(seed: Hash, population: Sequence[T], count: int) -> tuple[T, ...]:
    """`count` different elements in random order: a Fisher-Yates shuffle cut short."""
    pool, words = list(population), _words(seed)
    count = min(count, len(pool))
    for place in range(count):
        chosen = place + _below(words, len(pool) - place)
        pool[place], pool[chosen] = pool[chosen], pool[place]
    return tuple(pool[:count])


def _below(words: Iterator[int], bound: int) -> int:
    """Uniform in 0..bound-1 by rejection: the words beyond a multiple of `bound` are skipped."""
    invariant(0 < bound <= _WORD, "a word reaches every number below the bound")
    accepted = _WORD - _WORD % bound
    return next(word for word in words if word < accepted) % bound


def _words(seed: Hash) -> Iterator[int]:
    for counter in range(2**64):
        yield int.from_bytes(sha256(seed + counter.to_bytes(8, "big")), "big")
