"""Peer ids and addresses, made without a host."""

import pytest

from p2p_aios.errors import Invalid
from p2p_aios.network.identity import (
    address_of,
    format_peer,
    parse_address,
    parse_peer,
    peer_id_of,
)

SECRET = bytes(31) + b"\x01"
GENERATOR = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"


def test_a_peer_id_is_the_key_itself_in_an_identity_multihash():
    """libp2p specs, "Peer Ids": keys of at most 42 bytes are not hashed but embedded."""
    assert peer_id_of(SECRET).hex() == "002508021221" + GENERATOR


def test_text_forms_round_trip():
    peer = peer_id_of(SECRET)
    assert format_peer(peer).startswith("16Uiu2")
    assert parse_peer(format_peer(peer)) == peer
    address = address_of("/ip4/127.0.0.1/tcp/4001", peer)
    assert parse_address(address).peer == peer
    assert parse_address(address).address == address


@pytest.mark.parametrize("secret", [b"", bytes(32), b"\xff" * 32, b"\x01" * 31])
def test_what_is_no_secret_is_refused(secret):
    with pytest.raises(Invalid, match="key_malformed"):
        peer_id_of(secret)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4001",
        "/ip4/127.0.0.1/tcp/4001",
        "/ip4/127.0.0.1/udp/4001/p2p/16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi",
        "/ip4/999.0.0.1/tcp/4001/p2p/16Uiu2HAmEWQnHq2jLKJypwVnVoQeFCULuyop6atvq2eWjYSUjzNi",
        "/ip4/127.0.0.1/tcp/4001/p2p/not-an-id",
    ],
)
def test_malformed_addresses_are_refused_with_an_example(text):
    with pytest.raises(Invalid, match=r"write e\.g\."):
        parse_address(text)


@pytest.mark.parametrize("text", ["", "0OIl", "1"])
def test_malformed_peer_ids_are_refused(text):
    with pytest.raises(Invalid, match="peer_id_malformed"):
        parse_peer(text)
