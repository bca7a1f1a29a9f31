"""Medians and tails of measured samples."""

from collections.abc import Sequence


def quantile(samples: Sequence[float], share: float) -> float | None:
    """The smallest sample that at least `share` of all do not exceed; None of no samples.

    Nearest rank, so it is a value that really occurred; share: 0..1.
    """
    if not samples:
        return None
    ordered = sorted(samples)
    rank = -int(-share * len(ordered) // 1)  # rounded up
    return ordered[max(rank, 1) - 1]


def median(samples: Sequence[float]) -> float | None:
    return quantile(samples, 0.5)
