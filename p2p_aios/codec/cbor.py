"""Deterministic CBOR (RFC 8949 §4.2.1) as AIOS uses it.

The subset: integers of up to 64 bits, byte strings, text, arrays, booleans and null. No floats,
maps or tags, so there is exactly one encoding of a value, and `decode` accepts no other.
"""

from collections.abc import Sequence
from typing import Any, Final, NoReturn

import cbor2

from p2p_aios.errors import Invalid

MESSAGE_BYTES_MAX: Final = 1 << 20
"""Largest structure decoded without an explicit limit."""
DEPTH_MAX: Final = 16
"""Deepest nesting of arrays."""


def _refuse_tag(*_: Any) -> NoReturn:
    raise ValueError("tags are not accepted")


class _RefuseTags(dict[int, Any]):
    """A table in which every tag has the decoder that refuses it.

    Left to itself the library would build shared and cyclic values (tags 28, 29) that take for
    ever to walk, integers of a megabyte (2, 3), regular expressions and e-mails (35, 36).
    """

    def __missing__(self, tag: int) -> Any:
        return _refuse_tag


_NO_TAGS: Final = _RefuseTags()


def encode(value: Any) -> bytes:
    """The one canonical encoding of `value` (lists, tuples, int, bytes, str, bool, None)."""
    return cbor2.dumps(value, canonical=True)


def encode_array(items: Sequence[bytes]) -> bytes:
    """The canonical array of values that are encoded already; at most 2^32 - 1 of them."""
    count = len(items)
    if count < 24:
        head = bytes((0x80 + count,))
    elif count < 2**8:
        head = bytes((0x98, count))
    elif count < 2**16:
        head = b"\x99" + count.to_bytes(2, "big")
    else:
        head = b"\x9a" + count.to_bytes(4, "big")
    return head + b"".join(items)


def decode(data: bytes, bytes_max: int = MESSAGE_BYTES_MAX) -> Any:
    """The value whose canonical encoding is exactly `data`.

    Raises Invalid: `too_large`, `cbor_malformed` (not CBOR, or outside the subset), or
    `cbor_not_canonical` (another encoding of an acceptable value, or trailing bytes).
    """
    value = decode_lenient(data, bytes_max)
    _check_subset(value)
    require_canonical(data, encode(value))
    return value


def decode_lenient(data: bytes, bytes_max: int = MESSAGE_BYTES_MAX) -> Any:
    """CBOR without the canonical check: for callers that re-encode through a schema themselves."""
    if len(data) > bytes_max:
        raise Invalid("too_large", f"{len(data)} bytes where at most {bytes_max} are accepted")
    try:
        # Maps are outside the subset, but they are built before the schema sees them: keys whose
        # hashes collide would make that quadratic, so only keys hashed with a secret pass here.
        return cbor2.loads(
            data,
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            semantic_decoders=_NO_TAGS,
        )
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise Invalid("cbor_malformed", f"not CBOR: {error}") from None


def require_canonical(data: bytes, canonical: bytes) -> None:
    """Raise Invalid(`cbor_not_canonical`) where `data` is not the canonical encoding."""
    if data != canonical:
        raise Invalid("cbor_not_canonical", "bytes differ from the canonical encoding of the value")


def _check_subset(value: Any) -> None:
    kind = type(value)
    if kind is list:
        for item in value:
            _check_subset(item)
    elif kind is int:
        if not -(2**64) <= value < 2**64:
            raise Invalid("cbor_malformed", "integer beyond 64 bits")
    elif kind not in (bytes, str, bool, type(None)):
        raise Invalid("cbor_malformed", f"{kind.__name__} is outside the accepted subset")
