"""Numbers that the chain keeps as scaled integers, as people write and read them."""

from decimal import Decimal
from typing import Any, Final

from p2p_aios.errors import Invalid
from p2p_aios.units import FIXED_ONE

PARAMETER_ONE: Final = 1 << 24
"""1.0 among model parameters, updates and losses: 24 fractional bits."""
RATE_ONE: Final = FIXED_ONE
"""1.0 of a learning rate."""


def to_scaled(value: Any, one: int, name: str) -> int:
    """`value` in units of 1/`one`, towards zero; raises Invalid(`number_malformed`)."""
    is_number = isinstance(value, int | Decimal) and not isinstance(value, bool)
    if not is_number or not Decimal(value).is_finite():
        raise Invalid("number_malformed", f"{name} is a number, e.g. 0.1")
    return int(value * one)


def parse_scaled(text: str, one: int, name: str) -> int:
    """The same, of a command line's word."""
    try:
        return to_scaled(Decimal(text), one, name)
    except ArithmeticError:
        raise Invalid("number_malformed", f"{name} is a number, e.g. 0.1, not {text!r}") from None


def format_scaled(value: int, one: int) -> str:
    """Shortest text that tells four decimals and what whole numbers there are."""
    return f"{value / one:.4f}".rstrip("0").rstrip(".") if value % one else str(value // one)
