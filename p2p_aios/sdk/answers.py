"""Parameters into JSON, and a node's JSON into what a call's annotation promises."""

from typing import Any

from p2p_aios.codec import schema
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.units import Address


def read_answer(annotation: Any, value: Any) -> Any:
    """Raises Unavailable(`answer_malformed`)."""
    convert = schema.converter(annotation)
    try:
        return convert.from_plain(convert.from_json(value))
    except Invalid as error:
        raise Unavailable(
            "answer_malformed", f"the node speaks another version of AIOS: {error.message}"
        ) from None


def or_refusal(annotation: Any, value: Any) -> Any:
    """As `read_answer`; a refusal stays what it is."""
    return value if isinstance(value, AiosError) else read_answer(annotation, value)


def hex_of(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def name_of(address: Address | None) -> str | None:
    return None if address is None else format_address(address)
