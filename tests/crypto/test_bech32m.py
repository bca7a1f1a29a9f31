"""Bech32m against BIP 350 and Bitcoin Core's own taproot addresses."""

import json
from pathlib import Path

import pytest

from p2p_aios.crypto.bech32m import decode_bech32m, encode_bech32m, from_groups, to_groups
from p2p_aios.errors import Invalid


def test_bitcoin_core_taproot_addresses(shared: Path) -> None:
    vectors = json.loads((shared / "vectors/bitcoin/key_io_valid.json").read_text())
    checked = 0
    for text, script_hex, about in vectors:
        prefix, separator, _ = text.lower().rpartition("1")
        script = bytes.fromhex(script_hex)
        is_witness = separator and prefix in ("bc", "tb", "bcrt") and not about["isPrivkey"]
        if not is_witness or script[0] == 0:  # version 0 is the older bech32
            continue
        version, program = script[0] - 0x50, script[2:]
        found_prefix, groups = decode_bech32m(text)
        assert (found_prefix, groups[0], from_groups(groups[1:])) == (prefix, version, program)
        assert encode_bech32m(prefix, [version, *to_groups(program)]) == text.lower()
        if about.get("tryCaseFlip"):
            assert decode_bech32m(text.swapcase()) == (prefix, groups)
        checked += 1
    assert checked >= 10


def test_bitcoin_core_version_0_addresses_have_another_checksum(shared: Path) -> None:
    vectors = json.loads((shared / "vectors/bitcoin/key_io_valid.json").read_text())
    older = [text for text, script, _ in vectors if text.startswith("bc1q") and script[:2] == "00"]
    assert older
    for text in older:
        with pytest.raises(Invalid, match="wrong checksum"):
            decode_bech32m(text)


BIP350_VALID = [
    "A1LQFN3A",
    "a1lqfn3a",
    "an83characterlonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11sg7hg6",
    "abcdef1l7aum6echk45nj3s0wdvt2fg8x9yrzpqzd3ryx",
    "11llllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllllludsr8",
    "split1checkupstagehandshakeupstreamerranterredcaperredlc445v",
    "?1v759aa",
]
BIP350_INVALID = [
    "\x201xj0phk",
    "\x7f1g6xzxy",
    "\x801vctc34",
    "an84characterslonghumanreadablepartthatcontainsthetheexcludedcharactersbioandnumber11d6pts4",
    "qyrz8wqd2c9m",
    "1qyrz8wqd2c9m",
    "y1b0jsk6g",
    "lt1igcx5c0",
    "in1muywd",
    "mm1crxm3i",
    "au1s5cgom",
    "M1VUXWEZ",
    "16plkw9",
    "1p2gdwpf",
    "",
    "a1LQFN3a",
    "\u212a1lqfn3a",
]


@pytest.mark.parametrize("text", BIP350_VALID)
def test_bip_350_valid(text: str) -> None:
    prefix, groups = decode_bech32m(text)
    assert encode_bech32m(prefix, groups) == text.lower()


@pytest.mark.parametrize("text", BIP350_INVALID)
def test_bip_350_invalid(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        decode_bech32m(text)
    assert caught.value.code == "bech32m_malformed"


def test_text_that_only_unicode_would_call_upper_case_is_refused() -> None:
    with_k = next(
        text
        for number in range(100)
        if "k" in (text := encode_bech32m("aios", to_groups(bytes([number]) * 20)))
    )
    kelvin = with_k.upper().replace("K", "\u212a")
    assert kelvin.lower() == with_k
    with pytest.raises(Invalid, match="bech32m_malformed"):
        decode_bech32m(kelvin)


@pytest.mark.parametrize("groups", [[1], [0, 1], [0, 0, 0], [31]])
def test_padding_must_be_short_and_zero(groups: list[int]) -> None:
    with pytest.raises(Invalid, match="padding"):
        from_groups(groups)
