"""Who may connect, by numbers alone."""

import pytest

from p2p_aios.network.admission import (
    CONNECTIONS_PER_PEER_MAX,
    STRANGERS_PER_ADDRESS_MAX,
    Admission,
    Link,
)

OWN, FRIEND = b"own", b"friend"
ROOM, RESERVED = 64, 16


def admission() -> Admission:
    made = Admission(OWN, ROOM, RESERVED)
    made.set_known("test", frozenset({FRIEND}))
    return made


def crowd(count: int, host: str = "192.0.2.{}") -> list[Link]:
    return [Link(b"stranger %d" % number, host.format(number)) for number in range(count)]


def test_oneself_and_a_third_connection_are_refused() -> None:
    rule = admission()
    assert rule.refusal(Link(OWN, "192.0.2.1"), []) is not None
    held = [Link(FRIEND, "192.0.2.1")] * CONNECTIONS_PER_PEER_MAX
    assert rule.refusal(held[0], held[1:]) is None
    assert rule.refusal(held[0], held) is not None


def test_strangers_leave_room_for_the_known() -> None:
    rule, held = admission(), crowd(ROOM - RESERVED)
    assert rule.refusal(Link(b"new", "198.51.100.1"), held[1:]) is None
    assert rule.refusal(Link(b"new", "198.51.100.1"), held) is not None
    assert rule.refusal(Link(FRIEND, "198.51.100.1"), held) is None
    assert rule.refusal(Link(FRIEND, "198.51.100.1"), crowd(ROOM)) is not None


@pytest.mark.parametrize(
    ("host", "neighbour", "elsewhere"),
    [
        ("192.0.2.7", "192.0.2.7", "192.0.2.8"),
        ("::ffff:192.0.2.7", "192.0.2.7", "::ffff:192.0.2.8"),
        ("2001:db8::{}", "2001:db8::ffff:1", "2001:db8:0:1::1"),
    ],
)
def test_identities_made_up_at_one_address_do_not_take_every_place(
    host: str, neighbour: str, elsewhere: str
) -> None:
    rule, held = admission(), crowd(STRANGERS_PER_ADDRESS_MAX, host)
    assert rule.refusal(Link(b"new", neighbour), held[1:]) is None
    assert rule.refusal(Link(b"new", neighbour), held) is not None
    assert rule.refusal(Link(b"new", elsewhere), held) is None
    assert rule.refusal(Link(FRIEND, neighbour), held) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "", "unix"])
def test_this_machine_is_not_counted(host: str) -> None:
    held = crowd(STRANGERS_PER_ADDRESS_MAX + 5, host)
    assert admission().refusal(Link(b"new", host), held) is None
