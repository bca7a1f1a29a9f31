"""JSON forms of the scalar types that people and JavaScript read differently from bytes."""

from collections.abc import Callable
from typing import Any, Final

from p2p_aios.codec.cid import format_cid, parse_cid
from p2p_aios.crypto.keys import format_address, parse_address
from p2p_aios.errors import Invalid


def bytes_from_hex(value: Any) -> bytes:
    """Raises Invalid(`schema_mismatch`)."""
    try:
        if not isinstance(value, str) or value != value.lower():
            raise ValueError
        return bytes.fromhex(value)
    except ValueError:
        raise Invalid("schema_mismatch", "expected lower-case hex") from None


def _integer_from_text(value: Any) -> int:
    if not isinstance(value, str) or not value.isascii() or not value.isdigit():
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
