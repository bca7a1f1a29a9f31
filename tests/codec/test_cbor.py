"""Deterministic CBOR: what is accepted, what is refused, under which code, at what cost."""

import json
import time
from pathlib import Path

import cbor2
import pytest

from p2p_aios.codec import cbor
from p2p_aios.errors import Invalid

APPENDIX_A_ACCEPTED = {
    *("00", "01", "0a", "17", "1818", "1819", "1864", "1903e8", "1a000f4240"),
    *("1b000000e8d4a51000", "1bffffffffffffffff", "3bffffffffffffffff", "20", "29", "3863"),
    *("3903e7", "f4", "f5", "f6", "40", "4401020304", "60", "6161", "6449455446", "62225c"),
    *("62c3bc", "63e6b0b4", "64f0908591", "80", "83010203", "8301820203820405"),
    "98190102030405060708090a0b0c0d0e0f101112131415161718181819",
}
"""Of RFC 8949 appendix A, the integers of 64 bits, strings, definite arrays, booleans and null."""


def code_of(data: bytes, bytes_max: int = cbor.MESSAGE_BYTES_MAX) -> str:
    with pytest.raises(Invalid) as caught:
        cbor.decode(data, bytes_max)
    return caught.value.code


def test_rfc_8949_appendix_a(shared: Path) -> None:
    vectors = json.loads((shared / "vectors/cbor/appendix_a.json").read_text())
    accepted = set()
    for vector in vectors:
        data = bytes.fromhex(vector["hex"])
        if vector["hex"] not in APPENDIX_A_ACCEPTED:
            # Floats, maps, tags, big numbers, undefined and simple values, indefinite lengths.
            assert code_of(data) == "cbor_malformed", vector
            continue
        value = cbor.decode(data)
        if "decoded" in vector:
            assert value == vector["decoded"]
        else:
            assert vector["diagnostic"] == f"h'{value.hex()}'"
        assert cbor.encode(value) == data
        accepted.add(vector["hex"])
    assert accepted == APPENDIX_A_ACCEPTED
    assert len(vectors) == 82


@pytest.mark.parametrize(
    ("hex_text", "why"),
    [
        ("1817", "23 in two bytes"),
        ("190017", "23 in three bytes"),
        ("1a00000017", "23 in five bytes"),
        ("1b0000000000000017", "23 in nine bytes"),
        ("1b00000000ffffffff", "32 bits in nine bytes"),
        ("3800", "-1 in two bytes"),
        ("580100", "length of a byte string"),
        ("78016161", "length of a text"),
        ("980101", "length of an array"),
        ("0000", "trailing byte"),
        ("81" + "0000", "trailing byte after an array"),
    ],
)
def test_second_encodings_are_refused(hex_text: str, why: str) -> None:
    assert code_of(bytes.fromhex(hex_text)) == "cbor_not_canonical", why


@pytest.mark.parametrize(
    ("hex_text", "why"),
    [
        ("", "nothing"),
        ("18", "integer cut short"),
        ("4201", "byte string cut short"),
        ("8201", "array cut short"),
        ("ff", "break without a start"),
        ("1c", "reserved additional information"),
        ("61ff", "not UTF-8"),
        ("63eda080", "half a surrogate pair"),
        ("a201010102", "duplicate key"),
        ("a1810102", "array as a key"),
        ("c24101", "bignum that would fit an integer"),
        ("d81c80", "shareable"),
        ("d9010080", "string reference namespace"),
        ("d9d9f700", "self-described CBOR"),
        ("da7fffffff00", "unknown tag"),
        ("81" * 17 + "00", "17 levels"),
        ("c1" * 17 + "00", "17 tags"),
    ],
)
def test_outside_the_subset_is_refused(hex_text: str, why: str) -> None:
    assert code_of(bytes.fromhex(hex_text)) == "cbor_malformed", why


def test_sixteen_levels_are_accepted() -> None:
    data = b"\x81" * cbor.DEPTH_MAX + b"\x00"
    assert cbor.encode(cbor.decode(data)) == data


def test_size_is_checked_before_anything_is_decoded() -> None:
    assert code_of(b"\x41\x00", bytes_max=1) == "too_large"
    assert cbor.decode(b"\x41\x00", bytes_max=2) == b"\x00"


def test_integers_end_at_64_bits() -> None:
    for edge in (-(2**64), 2**64 - 1):
        assert cbor.decode(cbor.encode(edge)) == edge
    for beyond in (-(2**64) - 1, 2**64):
        assert code_of(cbor2.dumps(beyond)) == "cbor_malformed"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(bytes.fromhex("9bffffffffffffffff"), id="array-of-2^64"),
        pytest.param(bytes.fromhex("9b00000000ffffffff") * 15, id="nested-arrays-of-2^32"),
        pytest.param(bytes.fromhex("5b4000000000000000"), id="bytes-of-2^62"),
        pytest.param(bytes.fromhex("7b7fffffffffffffff"), id="text-of-2^63"),
        pytest.param(bytes.fromhex("bb4000000000000000"), id="map-of-2^62"),
        pytest.param(b"\x81" * 1_000_000, id="a-million-levels"),
        pytest.param(b"\xc1" * 1_000_000, id="a-million-tags"),
        pytest.param(bytes.fromhex("d81c81d81d00"), id="list-that-contains-itself"),
        pytest.param(cbor2.dumps(cbor2.CBORTag(2, b"\xff" * 900_000)), id="bignum-of-a-megabyte"),
        pytest.param(cbor2.dumps(cbor2.CBORTag(4, [2**60, 3])), id="decimal-exponent"),
        pytest.param(cbor2.dumps(cbor2.CBORTag(5, [2**60, 3])), id="bigfloat-exponent"),
        pytest.param(bytes.fromhex("d81e820100"), id="one-over-zero"),
        pytest.param(cbor2.dumps(cbor2.CBORTag(35, "(((")), id="regular-expression"),
        pytest.param(cbor2.dumps(cbor2.CBORTag(36, "From: x\n\n")), id="e-mail"),
    ],
)
def test_bombs_cost_nothing(data: bytes) -> None:
    started = time.process_time()
    assert code_of(data) == "cbor_malformed"
    assert time.process_time() - started < 1


def test_keys_with_equal_hashes_cost_nothing() -> None:
    """60,000 integers that are equal modulo 2^61 - 1 once held a core for 17 seconds."""
    keys = [cbor2.dumps((index * (2**61 - 1)) << 1) for index in range(60_000)]
    data = b"\xb9" + len(keys).to_bytes(2, "big") + b"".join(key + b"\x00" for key in keys)
    started = time.process_time()
    assert code_of(data) == "cbor_malformed"
    assert time.process_time() - started < 1


def test_shared_values_are_not_walked_again_and_again() -> None:
    """Fifteen levels of eight references each would be 8^15 visits."""
    level = bytes.fromhex("d81c80")
    for index in range(14):
        level = bytes.fromhex("d81c88") + level + bytes((0xD8, 0x1D, index)) * 7
    assert code_of(level) == "cbor_malformed"


@pytest.mark.parametrize("count", [0, 1, 23, 24, 255, 256, 65_535, 65_536])
def test_an_array_of_encoded_items_is_the_array_of_the_items(count: int) -> None:
    assert cbor.encode_array([cbor.encode(7)] * count) == cbor.encode([7] * count)
