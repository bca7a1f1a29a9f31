"""One thing measured at several sizes, and the power of the size it grows by.

A figure at a size is named `<figure>_at_<size>`; `<figure>_exponent` is the slope of its logarithm
over the size's: 0 does not grow, 1 grows as the size does, 2 as its square.
"""

import math
from collections.abc import Mapping
from typing import Final

EXPONENT: Final = "_exponent"
_AT: Final = "_at_"


def sizes_up_to(largest: int, smallest: int, factor: int) -> list[int]:
    """`smallest` and its multiples by `factor` below `largest`, then `largest` itself."""
    sizes = []
    size = smallest
    while size < largest:
        sizes.append(size)
        size *= factor
    return [*sizes, largest]


def growth_figures(measured: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Flat figures of what was measured at each size, ascending."""
    figures: dict[str, float] = {}
    for name in next(iter(measured.values())):
        points = {size: figures_at[name] for size, figures_at in measured.items()}
        figures |= {f"{name}{_AT}{size}": round(value, 3) for size, value in points.items()}
        slope = exponent(points)
        if slope is not None:
            figures[f"{name}{EXPONENT}"] = round(slope, 2)
    return figures


def by_size(figures: Mapping[str, float]) -> tuple[dict[str, dict[int, float]], list[int]]:
    """Each figure's values by size, and all sizes ascending."""
    rows: dict[str, dict[int, float]] = {}
    for key, value in figures.items():
        name, at, size = key.rpartition(_AT)
        if at:
            rows.setdefault(name, {})[int(size)] = value
    return rows, sorted({size for values in rows.values() for size in values})


def exponent(points: Mapping[int, float]) -> float | None:
    """Least-squares slope of log value over log size; None of fewer than two positive values."""
    logs = [(math.log(size), math.log(value)) for size, value in points.items() if value > 0]
    if len(logs) < 2:
        return None
    mean_x = math.fsum(x for x, _ in logs) / len(logs)
    mean_y = math.fsum(y for _, y in logs) / len(logs)
    spread = math.fsum((x - mean_x) ** 2 for x, _ in logs)
    return math.fsum((x - mean_x) * (y - mean_y) for x, y in logs) / spread
