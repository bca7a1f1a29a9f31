"""Who is refused, and for how long."""

from p2p_aios.network.penalties import (
    BAN_S,
    BAN_S_MAX,
    BAN_SCORE,
    GARBAGE,
    NUISANCE,
    RECORDS_MAX,
    SCORE_HALF_LIFE_S,
    Penalties,
)

PEER, OTHER = b"peer", b"other"


def test_garbage_bans_at_once_and_nobody_else():
    penalties = Penalties()
    assert penalties.penalize(PEER, GARBAGE, 10.0)
    assert penalties.is_banned(PEER, 10.0 + BAN_S - 1)
    assert not penalties.is_banned(PEER, 10.0 + BAN_S)
    assert not penalties.is_banned(OTHER, 11.0)


def test_nuisances_add_up_but_fade():
    penalties = Penalties()
    needed = BAN_SCORE // NUISANCE
    assert not any(penalties.penalize(PEER, NUISANCE, 0.0) for _ in range(needed - 1))
    assert penalties.penalize(PEER, NUISANCE, 0.0)
    assert not any(penalties.penalize(OTHER, NUISANCE, k * SCORE_HALF_LIFE_S) for k in range(100))


def test_each_ban_is_twice_as_long_within_bounds():
    penalties, now_s, lengths = Penalties(), 0.0, []
    for _ in range(9):
        assert penalties.penalize(PEER, GARBAGE, now_s)
        until_s = now_s
        while penalties.is_banned(PEER, until_s):
            until_s += BAN_S / 2
        lengths.append(until_s - now_s)
        now_s = until_s
    assert lengths[:4] == [BAN_S, 2 * BAN_S, 4 * BAN_S, 8 * BAN_S]
    assert lengths[-1] == BAN_S_MAX


def test_a_banned_peer_is_not_banned_again_for_the_same_time():
    penalties = Penalties()
    assert penalties.penalize(PEER, GARBAGE, 0.0)
    assert not penalties.penalize(PEER, GARBAGE, 1.0)
    assert penalties.bans == 1


def test_memory_is_bounded():
    penalties = Penalties()
    for number in range(RECORDS_MAX + 10):
        penalties.penalize(b"%d" % number, GARBAGE, 0.0)
    assert len(penalties._records) == RECORDS_MAX
    assert not penalties.is_banned(b"3", 1.0)
    assert penalties.is_banned(b"20", 1.0)
