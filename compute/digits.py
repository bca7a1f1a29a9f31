"""The handwritten digits that ship inside scikit-learn: 1,797 rows of 8 × 8 pixels, ten classes."""

from typing import Final

import numpy as np

from compute.local_data import LocalData

TEST_ROWS: Final = 360
SHUFFLE_SEED: Final = 0
INK_MAX: Final = 16
"""Darkest pixel in the source; features are divided by it."""


def load_digits_split() -> tuple[LocalData, LocalData]:
    """(1,437 training rows, 360 test rows), features in 0..1, 64 columns."""
    from sklearn.datasets import load_digits  # takes a second to import: only where it is used

    x, y = load_digits(return_X_y=True)
    order = np.random.Generator(np.random.PCG64(SHUFFLE_SEED)).permutation(len(y))
    x, y = (x[order] / INK_MAX).astype(np.float32), y[order].astype(np.int64)
    return LocalData(x[TEST_ROWS:], y[TEST_ROWS:]), LocalData(x[:TEST_ROWS], y[:TEST_ROWS])
