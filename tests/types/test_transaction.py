"""Every way in which a transaction's form can be wrong, and the code it is refused under."""

from dataclasses import replace

import pytest

from p2p_aios.codec import cbor, schema
from p2p_aios.crypto.hashing import sha256, signing_digest
from p2p_aios.crypto.keys import ORDER, KeyPair
from p2p_aios.errors import Invalid
from p2p_aios.types.compute import SubmitJob
from p2p_aios.types.transaction import (
    TRANSACTION_BYTES_MAX,
    Transaction,
    TransactionBody,
    Transfer,
    check_transaction,
    raw_digest,
    sign_transaction,
)
from p2p_aios.units import Address, Amount, Hash, Height, Signature

CHAIN = Hash(bytes([7]) * 32)
KEY = KeyPair.from_secret(sha256(b"sender"))
OTHER = KeyPair.from_secret(sha256(b"other"))
BODY = TransactionBody(
    CHAIN, KEY.public_key, 3, Amount(200_000), Height(1000), Transfer(OTHER.address, Amount(5))
)
GOOD = sign_transaction(KEY, BODY)


def code_of(raw: bytes) -> str:
    with pytest.raises(Invalid) as caught:
        check_transaction(raw, CHAIN)
    return caught.value.code


def parts(raw: bytes) -> Transaction:
    return schema.decode(Transaction, raw)


def test_what_is_signed_is_accepted() -> None:
    assert check_transaction(GOOD.raw, CHAIN) == GOOD
    assert GOOD.sender == KEY.address
    assert GOOD.id == signing_digest("transaction", CHAIN, schema.encode(BODY))
    assert raw_digest(GOOD.raw) == sha256(GOOD.raw) != GOOD.id


@pytest.mark.parametrize("raw", [b"", b"\x00", b"garbage", b"\xff" * 100, b"\x82", GOOD.raw[:-1]])
def test_garbage(raw: bytes) -> None:
    assert code_of(raw) in {"cbor_malformed", "schema_mismatch"}


def test_no_bytes_may_follow_or_be_spelled_otherwise() -> None:
    assert code_of(GOOD.raw + b"\x00") == "cbor_not_canonical"
    assert GOOD.raw[0] == 0x82
    assert code_of(b"\x98\x02" + GOOD.raw[1:]) == "cbor_not_canonical"


def test_oversized() -> None:
    assert code_of(GOOD.raw + bytes(TRANSACTION_BYTES_MAX)) == "too_large"


def test_wrong_chain() -> None:
    for_other_chain = sign_transaction(KEY, replace(BODY, chain_id=Hash(bytes(32))))
    assert code_of(for_other_chain.raw) == "wrong_chain"


def test_a_signature_cannot_be_carried_to_another_chain() -> None:
    signature = parts(sign_transaction(KEY, replace(BODY, chain_id=Hash(bytes(32)))).raw).signature
    assert code_of(schema.encode(Transaction(BODY, signature))) == "signature_invalid"


def test_high_s() -> None:
    signature = parts(GOOD.raw).signature
    s = int.from_bytes(signature[32:], "big")
    high = Signature(signature[:32] + (ORDER - s).to_bytes(32, "big"))
    assert code_of(schema.encode(Transaction(BODY, high))) == "signature_high_s"


def test_wrong_signature() -> None:
    by_another = parts(sign_transaction(OTHER, BODY).raw).signature
    assert code_of(schema.encode(Transaction(BODY, by_another))) == "signature_invalid"
    assert code_of(schema.encode(Transaction(BODY, Signature(bytes(64))))) == "signature_invalid"


@pytest.mark.parametrize(
    "changed",
    [
        replace(BODY, nonce=4),
        replace(BODY, fee=Amount(1)),
        replace(BODY, expires=Height(9)),
        replace(BODY, sender=OTHER.public_key),
        replace(BODY, action=Transfer(OTHER.address, Amount(6))),
        replace(BODY, action=Transfer(KEY.address, Amount(5))),
    ],
)
def test_every_field_is_signed(changed: TransactionBody) -> None:
    signature = parts(GOOD.raw).signature
    assert code_of(schema.encode(Transaction(changed, signature))) == "signature_invalid"


def test_a_key_off_the_curve() -> None:
    plain = cbor.decode(GOOD.raw)
    plain[0][1] = b"\x02" + (5).to_bytes(32, "big")
    assert code_of(cbor.encode(plain)) == "signature_invalid"


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ((0, 0), b"short"),
        ((0, 1), bytes(32)),
        ((0, 2), -1),
        ((0, 2), -(2**64)),
        ((0, 3), None),
        ((0, 4), "soon"),
        ((0, 5), [99]),
        ((0, 5), [1, bytes(20), 5, 5]),
        ((0, 5), []),
        ((0, 5, 1), Address(bytes(21))),
        ((1,), bytes(63)),
        ((1,), bytes(65)),
    ],
)
def test_misshapen(path: tuple[int, ...], value: object) -> None:
    plain = cbor.decode(GOOD.raw)
    place = plain
    for index in path[:-1]:
        place = place[index]
    place[path[-1]] = value
    expected = {"schema_mismatch", "cbor_malformed"}  # integers beyond 64 bits are no CBOR of ours
    assert code_of(cbor.encode(plain)) in expected


def test_floats_maps_and_big_numbers_inside() -> None:
    plain = cbor.decode(GOOD.raw)
    for value in (1.0, float("nan"), {}, {"a": 1}, 2**70, -(2**70)):
        plain[0][3] = value
        assert code_of(cbor.encode(plain)) in {"schema_mismatch", "cbor_malformed"}


def test_bounds_of_actions_hold() -> None:
    job = SubmitJob(1, (), bytes(4097), Amount(1), 5)  # type: ignore[arg-type]
    assert code_of(sign_transaction(KEY, replace(BODY, action=job)).raw) == "schema_mismatch"


def test_a_second_signature_of_the_signer_keeps_the_id() -> None:
    """The id names what happens; only the raw bytes tell two signatures apart."""
    assert sign_transaction(KEY, BODY) == GOOD  # deterministic nonce
    assert sign_transaction(OTHER, BODY).id == GOOD.id
