"""Amounts as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_aios.errors import Invalid, InvariantBroken, invariant
from p2p_aios.units import AIOS, UINT64_MAX, Amount, format_amount, mul_div_floor, parse_amount


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("12.5", 12_50000000),
        ("1_000", 1000 * AIOS),
        ("0.00000001", 1),
        ("007", 7 * AIOS),
        ("184467440737.09551615", UINT64_MAX),
    ],
)
def test_parse(text: str, units: int) -> None:
    assert parse_amount(text) == units


@pytest.mark.parametrize(
    "text",
    [
        "", ".", "1.", ".5", "-1", "+1", "1e3", "1E999999", "NaN", "Infinity", "0x10", " 1", "1\n",
        "1,5", "0.000000001", "1.00000000000000000000000000001", "184467440737.09551616", "٣",
        "9" * 10_000, "1 000",
    ],
)  # fmt: skip
def test_parse_refuses(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_amount(text)
    assert caught.value.code == "amount_malformed"
    assert len(caught.value.message) < 200


@given(st.integers(0, UINT64_MAX))
def test_format_is_read_back(units: int) -> None:
    assert parse_amount(format_amount(Amount(units))) == units


def test_division_names_its_rounding() -> None:
    assert mul_div_floor(7, 3, 2) == 10
    assert mul_div_floor(-7, 3, 2) == -11


def test_an_invariant_passes_every_except_exception() -> None:
    invariant(True, "holds")
    with pytest.raises(InvariantBroken, match="broken"):
        invariant(False, "broken")
    assert not issubclass(InvariantBroken, Exception)


def test_errors_carry_code_sentence_and_details() -> None:
    error = Invalid("nonce_low", "use nonce 4", expected=4)
    assert (error.code, error.message, error.details) == (
        "nonce_low",
        "use nonce 4",
        {"expected": 4},
    )
    assert str(error) == "nonce_low: use nonce 4"
    assert Invalid.kind == "invalid"
