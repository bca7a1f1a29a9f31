"""Bech32m text (BIP 350): lower-case, with a checksum that catches any four wrong characters."""

from functools import reduce
from operator import xor
from typing import Final

from p2p_aios.errors import Invalid

_ALPHABET: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_CHECKSUM: Final = 0x2BC830A3
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_TEXT_MAX: Final = 90
_VALUES: Final = {letter: value for value, letter in enumerate(_ALPHABET)}


def _feedback(top: int) -> int:
    return reduce(xor, (each for bit, each in enumerate(_GENERATORS) if top >> bit & 1), 0)


_FEEDBACK: Final = tuple(_feedback(top) for top in range(32))
"""What the five bits shifted out of the checksum put into it."""


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        check = (check & 0x1FFFFFF) << 5 ^ value ^ _FEEDBACK[check >> 25]
    return check


def _expand(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def encode_bech32m(prefix: str, data: list[int]) -> str:
    """Text of 5-bit groups `data` under `prefix`."""
    check = _polymod([*_expand(prefix), *data, 0, 0, 0, 0, 0, 0]) ^ _CHECKSUM
    groups = data + [check >> 5 * (5 - i) & 31 for i in range(6)]
    return prefix + "1" + "".join(_ALPHABET[group] for group in groups)


def decode_bech32m(text: str) -> tuple[str, list[int]]:
    """Prefix and 5-bit groups.

    Raises Invalid(`bech32m_malformed`).
    """
    lower = text.lower()
    prefix, separator, body = lower.rpartition("1")
    if (
        not text.isascii()  # else the Kelvin sign would read as a k
        or text not in (lower, text.upper())
        or len(text) > _TEXT_MAX
        or not separator
        or not prefix
        or not all(33 <= ord(c) <= 126 for c in prefix)
        or len(body) < 6
        or not _VALUES.keys() >= set(body)
    ):
        raise Invalid("bech32m_malformed", f"{text[:_TEXT_MAX]!r} is not bech32m text")
    groups = [_VALUES[c] for c in body]
    if _polymod(_expand(prefix) + groups) != _CHECKSUM:
        raise Invalid(
            "bech32m_malformed", f"{text!r} has a wrong checksum; is there a typing slip?"
        )
    return prefix, groups[:-6]


def to_groups(data: bytes) -> list[int]:
    """8-bit bytes as 5-bit groups, zero-padded at the end."""
    padding = -8 * len(data) % 5
    number = int.from_bytes(data, "big") << padding
    return [number >> shift & 31 for shift in range(8 * len(data) + padding - 5, -1, -5)]


def from_groups(groups: list[int]) -> bytes:
    """Inverse of `to_groups`; raises Invalid(`bech32m_malformed`) for wrong padding."""
    number = 0
    for group in groups:
        number = number << 5 | group
    whole, spare = divmod(5 * len(groups), 8)
    if spare >= 5 or number & (1 << spare) - 1:
        raise Invalid("bech32m_malformed", "padding bits are not zero")
    return (number >> spare).to_bytes(whole, "big")
