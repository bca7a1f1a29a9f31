"""Content identifiers against the multiformats text form."""

import base64
import hashlib

import pytest

from p2p_aios.codec.cid import DAG_CBOR, RAW, cid_of, format_cid, is_cid, matches, parse_cid
from p2p_aios.errors import Invalid

HELLO = "bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq"
"""The raw CID of b"hello" as every IPFS tool prints it (base32 of 01 55 12 20 || sha256)."""


def test_known_cid_of_hello() -> None:
    digest = hashlib.sha256(b"hello").digest()
    written = base64.b32encode(b"\x01\x55\x12\x20" + digest).decode().lower().rstrip("=")
    assert format_cid(cid_of(b"hello")) == "b" + written == HELLO


@pytest.mark.parametrize("codec", [RAW, DAG_CBOR])
def test_text_round_trip(codec: int) -> None:
    cid = cid_of(b"content", codec)
    assert is_cid(cid)
    assert parse_cid(format_cid(cid)) == cid
    assert matches(cid, b"content")
    assert not matches(cid, b"other")


def test_codec_is_part_of_the_name() -> None:
    assert cid_of(b"x", RAW) != cid_of(b"x", DAG_CBOR)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "b",
        HELLO.upper(),
        HELLO[:-1],
        HELLO + "a",
        HELLO + "=",
        "z" + HELLO[1:],
        HELLO[:-1] + "r",  # set bits in the padding: another spelling of the same bytes
        HELLO.replace("a", "1"),
        "bé",
        "b\x00",
        "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi",  # dag-pb
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",  # CIDv0
        "b" * 100_000,
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_cid(text)
    assert caught.value.code == "cid_malformed"
    assert len(caught.value.message) < 200
