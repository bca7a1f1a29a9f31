"""Keys and signatures: outside vectors, and `ecdsa` as an independent signer and verifier."""

import hashlib
import json
from pathlib import Path
from typing import Any

import ecdsa
import pytest
from ecdsa.util import sigdecode_string, sigencode_string, sigencode_string_canonize

from p2p_aios.crypto.bech32m import encode_bech32m, to_groups
from p2p_aios.crypto.hashing import sha256, signing_digest
from p2p_aios.crypto.keys import (
    ORDER,
    KeyPair,
    address_of,
    format_address,
    is_high_s,
    is_signed,
    parse_address,
)
from p2p_aios.errors import Invalid
from p2p_aios.units import Address, Hash, PublicKey, Signature

CHAIN = Hash(bytes(range(32)))
SECRETS = [1, 2, 3, ORDER - 1, ORDER // 2, *(int.from_bytes(sha256(bytes([n]))) for n in range(20))]


def key_of(scalar: int) -> KeyPair:
    return KeyPair.from_secret(scalar.to_bytes(32, "big"))


def compact_from_der(der: bytes) -> bytes | None:
    """r || s of a strictly encoded DER signature (BIP 66); None where compact cannot express it."""
    if len(der) < 8 or der[0] != 0x30 or der[1] != len(der) - 2:
        return None
    rest, halves = der[2:], []
    for _ in range(2):
        if len(rest) < 3 or rest[0] != 2 or not 1 <= rest[1] <= len(rest) - 2:
            return None
        digits, rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
        is_padded = len(digits) > 1 and digits[0] == 0 and digits[1] < 0x80
        if digits[0] >= 0x80 or is_padded or len(digits.lstrip(b"\x00")) > 32:
            return None
        halves.append(digits.lstrip(b"\x00").rjust(32, b"\x00"))
    return None if rest else halves[0] + halves[1]


def wycheproof(shared: Path) -> list[tuple[PublicKey, Hash, dict[str, Any]]]:
    path = shared / "vectors/secp256k1/ecdsa_secp256k1_sha256_bitcoin_test.json"
    cases = []
    for group in json.loads(path.read_text())["testGroups"]:
        point = bytes.fromhex(group["publicKey"]["uncompressed"])
        public = PublicKey(bytes([2 + point[-1] % 2]) + point[1:33])
        for case in group["tests"]:
            cases.append((public, sha256(bytes.fromhex(case["msg"])), case))
    return cases


def test_wycheproof_bitcoin_signatures(shared: Path) -> None:
    counts = {"valid": 0, "invalid": 0, "not compact": 0}
    for public, digest, case in wycheproof(shared):
        compact = compact_from_der(bytes.fromhex(case["sig"]))
        if compact is None:
            assert case["result"] == "invalid", case
            counts["not compact"] += 1
            continue
        assert is_signed(public, digest, Signature(compact)) == (case["result"] == "valid"), case
        counts[case["result"]] += 1
    assert counts["valid"] == 162
    # Enough of the refused ones must reach our own verifier for the refusal to be ours.
    assert counts["invalid"] >= 50
    assert sum(counts.values()) == 463


def test_wycheproof_high_s_is_refused_under_its_own_name(shared: Path) -> None:
    malleable = [
        compact
        for _, _, case in wycheproof(shared)
        if "SignatureMalleabilityBitcoin" in case["flags"]
        and (compact := compact_from_der(bytes.fromhex(case["sig"]))) is not None
    ]
    assert malleable
    assert all(is_high_s(Signature(compact)) for compact in malleable)


@pytest.mark.parametrize("scalar", SECRETS)
def test_ecdsa_agrees_on_keys_and_signatures(scalar: int) -> None:
    key, digest = key_of(scalar), sha256(scalar.to_bytes(32, "big"))
    theirs = ecdsa.SigningKey.from_secret_exponent(scalar, ecdsa.SECP256k1)
    assert theirs.verifying_key.to_string("compressed") == key.public_key
    ours = key.sign_digest(digest)
    assert theirs.verifying_key.verify_digest(ours, digest, sigdecode=sigdecode_string)
    # RFC 6979: both draw the same nonce, so low-s signatures are equal byte for byte.
    assert ours == theirs.sign_digest_deterministic(
        digest, hashfunc=hashlib.sha256, sigencode=sigencode_string_canonize
    )
    assert is_signed(key.public_key, digest, ours)


def test_high_s_of_a_good_signature_is_refused() -> None:
    key, digest = key_of(7), sha256(b"message")
    signature = key.sign_digest(digest)
    r, s = signature[:32], int.from_bytes(signature[32:], "big")
    high = Signature(r + (ORDER - s).to_bytes(32, "big"))
    theirs = ecdsa.VerifyingKey.from_string(key.public_key, ecdsa.SECP256k1)
    assert theirs.verify_digest(high, digest, sigdecode=sigdecode_string)
    assert is_high_s(high)
    assert not is_signed(key.public_key, digest, high)
    assert not is_high_s(signature)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_signatures_of_other_lengths_are_refused(length: int) -> None:
    key, digest = key_of(7), sha256(b"message")
    signature = (key.sign_digest(digest) * 2)[:length]
    assert not is_signed(key.public_key, digest, Signature(signature))


def test_edges_of_r_and_s_are_refused() -> None:
    key, digest = key_of(7), sha256(b"message")
    good = key.sign_digest(digest)
    for number in (0, ORDER, ORDER + 1, 2**256 - 1):
        edge = number.to_bytes(32, "big")
        assert not is_signed(key.public_key, digest, Signature(edge + good[32:]))
        assert not is_signed(key.public_key, digest, Signature(good[:32] + edge))


def test_public_keys_off_the_curve_or_in_other_forms_are_refused() -> None:
    key, digest = key_of(7), sha256(b"message")
    signature = key.sign_digest(digest)
    point = ecdsa.VerifyingKey.from_string(key.public_key, ecdsa.SECP256k1)
    off_curve = b"\x02" + (5).to_bytes(32, "big")  # x = 5 has no point on secp256k1
    for public in (
        off_curve,
        b"\x04" + key.public_key[1:],
        bytes(33),
        point.to_string("uncompressed"),
        point.to_string("hybrid"),
        key.public_key[:-1],
        b"",
    ):
        assert not is_signed(PublicKey(public), digest, signature)


def test_one_flipped_bit_anywhere_is_refused() -> None:
    key, digest = key_of(9), sha256(b"bits")
    signature = key.sign_digest(digest)
    for bit in range(512):
        flipped = bytearray(signature)
        flipped[bit // 8] ^= 1 << bit % 8
        assert not is_signed(key.public_key, digest, Signature(bytes(flipped)))


def test_kind_chain_and_payload_are_all_signed() -> None:
    key = key_of(11)
    signature = key.sign_digest(signing_digest("vote", CHAIN, b"payload"))
    assert is_signed(key.public_key, signing_digest("vote", CHAIN, b"payload"), signature)
    for digest in (
        signing_digest("transaction", CHAIN, b"payload"),
        signing_digest("vote", Hash(bytes(32)), b"payload"),
        signing_digest("vote", CHAIN, b"payloae"),
    ):
        assert not is_signed(key.public_key, digest, signature)


def test_signing_digest_is_as_documented() -> None:
    expected = hashlib.sha256(b"aios/vote/v1" + CHAIN + b"payload").digest()
    assert signing_digest("vote", CHAIN, b"payload") == expected


@pytest.mark.parametrize("secret", [bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32, b"", b"x"])
def test_secrets_out_of_range_are_refused(secret: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        KeyPair.from_secret(secret)
    assert caught.value.code == "key_malformed"


def test_a_secret_never_shows_in_text() -> None:
    key = key_of(0x1234567890ABCDEF << 180)
    assert key.secret.hex().strip("0") not in f"{key!r} {key}".lower()
    assert repr(key.secret) not in repr(key)


def test_address_is_the_tail_of_the_key_hash() -> None:
    key = key_of(1)
    assert (
        key.address == hashlib.sha256(key.public_key).digest()[-20:] == address_of(key.public_key)
    )
    assert parse_address(format_address(key.address)) == key.address
    assert format_address(key.address).startswith("aios1")


def test_addresses_with_any_one_character_wrong_are_refused() -> None:
    text = format_address(key_of(1).address)
    for place in range(len(text)):
        for other in "q7b1K\u212a":
            if other == text[place]:
                continue
            wrong = text[:place] + other + text[place + 1 :]
            with pytest.raises(Invalid) as caught:
                parse_address(wrong)
            assert caught.value.code == "address_malformed"


def test_other_prefixes_and_lengths_are_no_addresses() -> None:
    for prefix, data in (("bc", bytes(20)), ("aios", bytes(19)), ("aios", bytes(21))):
        with pytest.raises(Invalid, match="address_malformed"):
            parse_address(encode_bech32m(prefix, to_groups(data)))
    upper = format_address(Address(bytes(20))).upper()
    assert parse_address(upper) == bytes(20)


def test_canonized_signatures_of_another_signer_pass() -> None:
    theirs = ecdsa.SigningKey.from_secret_exponent(77, ecdsa.SECP256k1)
    public = PublicKey(theirs.verifying_key.to_string("compressed"))
    refused = 0
    for number in range(40):
        digest = sha256(number.to_bytes(4, "big"))
        low = theirs.sign_digest(digest, sigencode=sigencode_string_canonize)
        assert is_signed(public, digest, Signature(low))
        plain = theirs.sign_digest(digest, sigencode=sigencode_string)
        refused += not is_signed(public, digest, Signature(plain))
    assert 0 < refused < 40  # about half of all plain signatures have a high s
