"""Content identifiers: CIDv1 with sha2-256 (multiformats CID specification).

Built by hand: 36 bytes of constant prefix and digest need no library.
"""

import base64
import binascii
import hashlib
from typing import Final

from p2p_aios.errors import Invalid
from p2p_aios.units import Cid

RAW: Final = 0x55
"""Multicodec of plain bytes: blobs, chunks."""
DAG_CBOR: Final = 0x71
"""Multicodec of a structure in deterministic CBOR."""
_SHA2_256: Final = b"\x12\x20"


def cid_of(data: bytes, codec: int = RAW) -> Cid:
    """The CID of `data`; 36 bytes."""
    return Cid(bytes((1, codec)) + _SHA2_256 + hashlib.sha256(data).digest())


def is_cid(value: bytes) -> bool:
    """Whether `value` is a binary CID of a kind AIOS uses."""
    return (
        len(value) == 36
        and value[0] == 1
        and value[1] in (RAW, DAG_CBOR)
        and value[2:4] == _SHA2_256
    )


def matches(cid: Cid, data: bytes) -> bool:
    """Whether `data` is what `cid` names."""
    return hashlib.sha256(data).digest() == cid[4:]


def format_cid(cid: Cid) -> str:
    """Text form: multibase base32, lower case (`b…`)."""
    return "b" + base64.b32encode(cid).decode().rstrip("=").lower()


def parse_cid(text: str) -> Cid:
    """Binary CID from its text form.

    Raises Invalid(`cid_malformed`).
    """
    try:
        if not text.startswith("b") or text != text.lower():
            raise ValueError("no lower-case base32 multibase prefix")
        body = text[1:].upper()
        value = base64.b32decode(body + "=" * (-len(body) % 8))
    except (ValueError, binascii.Error):
        raise Invalid("cid_malformed", f"{text[:80]!r} is not a CIDv1 in base32") from None
    if not is_cid(value) or format_cid(Cid(value)) != text:
        raise Invalid("cid_malformed", f"{text[:80]!r} is not a raw or dag-cbor sha2-256 CIDv1")
    return Cid(value)
