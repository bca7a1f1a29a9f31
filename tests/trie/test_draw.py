"""The weighted draw: leaves lie side by side, each as wide as its sum."""

import hashlib
from collections import Counter

import cbor2
import pytest

from p2p_aios.errors import Invalid
from p2p_aios.trie.bulk import Change, update
from p2p_aios.trie.codec import PASH_CODEC, SUM_MAX, state_path
from p2p_aios.trie.lookup import draw

PASH, INFLUENCE = range(2)


def weighed(weights: dict[bytes, tuple[int, int]]) -> Change:
    items = {path: cbor2.dumps([_item(n) for n in pair]) for path, pair in weights.items()}
    return update(PASH_CODEC, {}.get, None, items, 1)


def _item(number: int) -> int | bytes:
    return number if number < 2**64 else number.to_bytes(16, "big")


def drawn(change: Change, which: int, point: int) -> bytes:
    return draw(PASH_CODEC, change.nodes.get, change.root, which, point)[0]


def test_every_point_of_a_small_trie_falls_where_the_law_says() -> None:
    """Exactly as many points lead to a leaf as it weighs, under either sum, side by side."""
    paths = [b"\x00\x00", b"\x00\x01", b"\x01\x00", b"\x10\x00", b"\x10\x01", b"\xff\xff"]
    for pashes in ((1, 2, 3, 4, 5, 6), (0, 0, 7, 0, 1, 0), (9, 0, 0, 0, 0, 0)):
        pairs = list(zip(pashes, reversed(pashes), strict=True))
        change = weighed(dict(zip(paths, pairs, strict=True)))
        for which in (PASH, INFLUENCE):
            widths = [pair[which] for pair in pairs]
            line = [path for path, width in zip(paths, widths, strict=True) for _ in range(width)]
            assert [drawn(change, which, point) for point in range(sum(widths))] == line
            for beyond in (-1, sum(widths), 2**130):
                with pytest.raises(Invalid, match="point_out_of_range"):
                    drawn(change, which, beyond)


def test_seeded_points_draw_in_proportion() -> None:
    """χ² of 10,000 draws over 40 leaves of weights 0..39: 38 degrees of freedom, beyond 78 with
    probability 10^-4; the leaf that weighs nothing is never drawn."""
    paths = [state_path(bytes([n])) for n in range(40)]
    change = weighed({path: (n, 1) for n, path in enumerate(paths)})
    total = sum(range(40))
    points = [
        int.from_bytes(hashlib.sha256(b"point %d" % i).digest(), "big") % total
        for i in range(10_000)
    ]
    seen = Counter(drawn(change, PASH, point) for point in points)
    assert seen[paths[0]] == 0
    expected = {path: 10_000 * n / total for n, path in enumerate(paths) if n}
    chi_square = sum((seen[path] - mean) ** 2 / mean for path, mean in expected.items())
    assert 15 < chi_square < 78


def test_points_at_the_edge_of_128_bits() -> None:
    half = 2**127
    change = weighed({b"\x00": (half, SUM_MAX), b"\x01": (half - 2, 0), b"\xf0": (1, 0)})
    assert drawn(change, PASH, half - 1) == b"\x00"
    assert drawn(change, PASH, half) == b"\x01"
    assert drawn(change, PASH, SUM_MAX - 2) == b"\x01"
    assert drawn(change, PASH, SUM_MAX - 1) == b"\xf0"
    assert drawn(change, INFLUENCE, SUM_MAX - 1) == b"\x00"
    with pytest.raises(Invalid, match="point_out_of_range"):
        drawn(change, PASH, SUM_MAX)


def test_a_draw_reads_one_path() -> None:
    """O(log n): of 5,000 leaves' nodes it opens no more than a path has."""
    change = weighed({state_path(n.to_bytes(4, "big")): (1, n) for n in range(5000)})
    for point in range(0, 5000, 97):
        read: list[bytes] = []

        def counted(node_id: bytes, read: list[bytes] = read) -> bytes | None:
            read.append(node_id)
            return change.nodes.get(node_id)

        draw(PASH_CODEC, counted, change.root, PASH, point)
        assert len(read) <= 8
