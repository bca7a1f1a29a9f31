"""Uneven splits of a data set over contributors, for experiments (Hsu et al., arXiv:1909.06335)."""

from typing import Final

import numpy as np
import numpy.typing as npt

from p2p_aios.errors import Invalid

ATTEMPTS_MAX: Final = 1000


def dirichlet_split(
    labels: npt.NDArray[np.int64], parts: int, alpha: float, seed: int, rows_min: int = 8
) -> list[npt.NDArray[np.int64]]:
    """Row numbers of each part: every class is spread by its own Dirichlet(alpha) draw.

    labels: (rows,). Small alpha means uneven classes. Drawn again until every part has `rows_min`
    rows; raises Invalid(`split_impossible`) after ATTEMPTS_MAX draws.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    for _ in range(ATTEMPTS_MAX):
        split = _draw(labels, parts, alpha, random)
        if min(len(part) for part in split) >= rows_min:
            return split
    raise Invalid(
        "split_impossible", f"no draw gives each of {parts} parts {rows_min} rows; use fewer parts"
    )


def _draw(
    labels: npt.NDArray[np.int64], parts: int, alpha: float, random: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    chosen: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(parts)]
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        shares = random.dirichlet(np.full(parts, alpha))
        cuts = (np.cumsum(shares)[:-1] * len(rows)).astype(int)
        for part, piece in zip(chosen, np.split(rows, cuts), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(pieces)) for pieces in chosen]
