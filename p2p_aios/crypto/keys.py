"""secp256k1 keys, signatures and addresses.

libsecp256k1 (coincurve) signs and verifies: constant time, about 16k verifications a second, GIL
released. Signatures are 64-byte compact with low s; a high s is refused, so nobody but the signer
can make a second valid signature of the same message.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Final

import coincurve

from p2p_aios.crypto.bech32m import decode_bech32m, encode_bech32m, from_groups, to_groups
from p2p_aios.errors import Invalid
from p2p_aios.units import Address, Hash, PublicKey, Signature

ADDRESS_PREFIX: Final = "aios"
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Order of the secp256k1 group."""
_HALF_ORDER: Final = ORDER // 2


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A secret key with its public key and address."""

    secret: bytes = field(repr=False)
    """32 bytes, big-endian scalar in 1..order-1."""
    public_key: PublicKey
    address: Address

    @staticmethod
    def from_secret(secret: bytes) -> "KeyPair":
        """Raises Invalid(`key_malformed`) for a scalar out of range."""
        if len(secret) != 32 or not 0 < int.from_bytes(secret, "big") < ORDER:
            raise Invalid("key_malformed", "a secret key is 32 bytes, a number in 1..order-1")
        public = PublicKey(coincurve.PrivateKey(secret).public_key.format())
        return KeyPair(secret, public, address_of(public))

    def sign_digest(self, digest: Hash) -> Signature:
        """Sign what `signing_digest` made of a message (deterministic, RFC 6979)."""
        recoverable = coincurve.PrivateKey(self.secret).sign_recoverable(digest, hasher=None)
        return Signature(recoverable[:64])


def address_of(public_key: PublicKey) -> Address:
    """Last 20 bytes of sha256(compressed public key)."""
    return Address(hashlib.sha256(public_key).digest()[12:])


def format_address(address: Address) -> str:
    """`aios1…`"""
    return encode_bech32m(ADDRESS_PREFIX, to_groups(address))


def parse_address(text: str) -> Address:
    """Raises Invalid(`address_malformed`)."""
    try:
        prefix, groups = decode_bech32m(text)
        data = from_groups(groups)
    except Invalid as error:
        raise Invalid("address_malformed", error.message) from None
    if prefix != ADDRESS_PREFIX or len(data) != 20:
        raise Invalid("address_malformed", f"{text!r} is not an address: they begin with aios1")
    return Address(data)


def is_signed(public_key: PublicKey, digest: Hash, signature: Signature) -> bool:
    """Whether `signature` is `public_key`'s over `digest`, with low s."""
    if len(signature) != 64 or len(public_key) != 33:
        return False
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    if not (0 < r < ORDER and 0 < s <= _HALF_ORDER):
        return False
    try:
        return bool(coincurve.PublicKey(public_key).verify(_der(signature), digest, hasher=None))
    except ValueError:
        return False


def is_high_s(signature: Signature) -> bool:
    """Whether s lies in the upper half: valid ECDSA, refused here as malleable."""
    return int.from_bytes(signature[32:], "big") > _HALF_ORDER


def _der(signature: bytes) -> bytes:
    r, s = (_der_integer(half) for half in (signature[:32], signature[32:]))
    return bytes((0x30, len(r) + len(s))) + r + s


def _der_integer(big_endian: bytes) -> bytes:
    digits = big_endian.lstrip(b"\x00") or b"\x00"
    if digits[0] & 0x80:
        digits = b"\x00" + digits
    return bytes((0x02, len(digits))) + digits
