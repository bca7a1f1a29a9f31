"""Draws from the beacon: the same for everyone, uniform, without bias."""

from collections import Counter
from itertools import permutations

import pytest

from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import InvariantBroken
from p2p_aios.ledger.draw import _below, _words, draw_distinct, draw_seed
from p2p_aios.trie.codec import SUM_MAX


def test_draws_are_the_same_for_everyone_and_differ_by_purpose() -> None:
    mix = sha256(b"mix")
    seed = draw_seed("job", mix, b"subject")
    assert draw_distinct(seed, range(100), 5) == draw_distinct(seed, range(100), 5)
    assert draw_seed("seats", mix, b"subject") != seed
    assert draw_seed("job", mix, b"other") != seed


def test_draws_never_repeat_an_element() -> None:
    for count in (0, 1, 7, 50, 80):
        drawn = draw_distinct(sha256(bytes([count])), range(50), count)
        assert len(set(drawn)) == len(drawn) == min(count, 50)


def test_every_ordered_pair_is_drawn_equally_often() -> None:
    """χ² of 6,000 draws of 2 out of 6 over the 30 ordered pairs: 29 degrees of freedom, beyond 66
    with probability 10^-4. The seeds are fixed, so it never fails by chance."""
    seen = Counter(draw_distinct(sha256(i.to_bytes(4, "big")), range(6), 2) for i in range(6000))
    expected = 6000 / 30
    chi_square = sum((seen[pair] - expected) ** 2 / expected for pair in permutations(range(6), 2))
    assert sum(seen.values()) == 6000
    assert 10 < chi_square < 66


def test_words_that_would_favour_small_numbers_are_skipped() -> None:
    """2^256 = 1 (mod 3): the last word would make 0 more likely than 1 and 2."""
    assert _below(iter([2**256 - 1, 5]), 3) == 2
    assert _below(iter([2**256 - 1]), 4) == 3


def test_a_word_reaches_the_largest_sum_of_the_contribution_trie() -> None:
    """A point in a total of 128 bits; with words of 64 bits it would be sought for ever."""
    points = [_below(_words(sha256(bytes([i]))), SUM_MAX) for i in range(100)]
    assert max(points) > SUM_MAX - SUM_MAX // 16
    assert min(points) < SUM_MAX // 16
    with pytest.raises(InvariantBroken):
        _below(iter([1]), 2**256 + 1)
    with pytest.raises(InvariantBroken):
        _below(iter([1]), 0)
