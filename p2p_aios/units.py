"""The integers validators agree on, with their units.

Every NewType below carries its range, so that the schema codec (`p2p_aios.codec.schema`) checks it
at the boundary. Division names its rounding.
"""

import re
from typing import Annotated, Final, NewType

from p2p_aios.codec.limits import Range, Size
from p2p_aios.errors import Invalid

UINT64_MAX: Final = 2**64 - 1

Amount = NewType("Amount", Annotated[int, Range(0, UINT64_MAX)])
"""AIOS in units of 10^-8."""
Height = NewType("Height", Annotated[int, Range(0, UINT64_MAX)])
"""Block number; genesis is 0."""
Epoch = NewType("Epoch", Annotated[int, Range(0, UINT64_MAX)])
"""Settlement period number; the blocks 1..epoch_blocks are epoch 0."""
View = NewType("View", Annotated[int, Range(0, UINT64_MAX)])
"""Consensus attempt within an epoch; the first is 1."""
Millis = NewType("Millis", Annotated[int, Range(0, UINT64_MAX)])
"""Milliseconds: a duration, or the time since the Unix epoch."""
Fixed = NewType("Fixed", Annotated[int, Range(-(2**63), 2**63 - 1)])
"""Score or share in fixed point, units of 10^-9."""

Hash = NewType("Hash", Annotated[bytes, Size.exactly(32)])
"""sha256 digest."""
Address = NewType("Address", Annotated[bytes, Size.exactly(20)])
"""Account: the last 20 bytes of sha256(compressed public key)."""
PublicKey = NewType("PublicKey", Annotated[bytes, Size.exactly(33)])
"""secp256k1 point, compressed."""
Signature = NewType("Signature", Annotated[bytes, Size.exactly(64)])
"""secp256k1 ECDSA, compact r || s, low s."""
Cid = NewType("Cid", Annotated[bytes, Size.exactly(36)])
"""Binary CIDv1 with sha2-256."""

AIOS: Final = 10**8
"""Units in one AIOS."""
FIXED_ONE: Final = 10**9
"""1.0 as a Fixed."""
_DECIMAL: Final = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,8}))?")
ZERO_HASH: Final = Hash(bytes(32))


def mul_div_floor(a: int, b: int, divisor: int) -> int:
    """⌊a·b / divisor⌋, exact."""
    return a * b // divisor


def format_amount(amount: Amount) -> str:
    """`123.45` for 12_345_000_000 units."""
    whole, part = divmod(amount, AIOS)
    return f"{whole}.{part:08d}".rstrip("0").rstrip(".") if part else str(whole)


def parse_amount(text: str) -> Amount:
    """Amount from decimal AIOS, e.g. `12.5` or `1_000`.

    Raises Invalid(`amount_malformed`) for anything but a number in range with at most 8 decimals.
    """
    parts = _DECIMAL.fullmatch(text.replace("_", ""))
    if parts is None:
        raise Invalid(
            "amount_malformed", f"{text[:40]!r} is not an amount of at most 8 decimals, e.g. 12.5"
        )
    units = int(parts[1]) * AIOS + int((parts[2] or "").ljust(8, "0"))
    if units > UINT64_MAX:
        raise Invalid("amount_malformed", f"{text[:40]!r} is more than there can ever be")
    return Amount(units)
