"""JSON forms of the scalar types that people and JavaScript read differently from bytes."""

from collections.abc import Callable
from typing import Any, Final

from p2p_aios.codec.cid import format_cid, parse_cid
from p2p_aios.crypto.keys import format_address, parse_address
from p2p_aios.errors import Invalid

_DIGITS_MAX: Final = 20
"""Digits of the largest 64-bit integer."""


def bytes_from_hex(value: Any) -> bytes:
    """Raises Invalid(`schema_mismatch`)."""
    try:
        octets = bytes.fromhex(value)
        if octets.hex() != value:  # upper case, or white space between the digits
            raise ValueError
        return octets
    except (ValueError, TypeError):
        raise Invalid("schema_mismatch", "expected lower-case hex") from None


def _integer_from_text(value: Any) -> int:
    is_digits = isinstance(value, str) and value.isascii() and value.isdigit()
    if not is_digits or len(value) > _DIGITS_MAX:
        raise Invalid("schema_mismatch", "expected an amount as a decimal string of units")
    return int(value)


def _text(parse: Callable[[str], bytes]) -> Callable[[Any], bytes]:
    def convert(value: Any) -> bytes:
        if not isinstance(value, str):
            raise Invalid("schema_mismatch", "expected text")
        return parse(value)

    return convert


JSON_FORMS: Final[dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any]]]] = {
    "Amount": (str, _integer_from_text),
    "Address": (format_address, _text(parse_address)),
    "Cid": (format_cid, _text(parse_cid)),
}
"""NewType name to (to_json, from_json)."""
