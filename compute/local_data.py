"""A contributor's own rows, as they lie in an .npz file."""

import zlib
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from compute.quantize import Float32s
from p2p_aios.errors import Invalid, Unavailable


@dataclass(frozen=True, slots=True)
class LocalData:
    """Labelled rows; they never leave their owner."""

    x: Float32s
    """(rows, columns)."""
    y: npt.NDArray[np.int64]
    """(rows,), class numbers from 0."""


def load_local_data(path: Path) -> LocalData:
    """Rows from an .npz with `x` (rows × columns of numbers) and `y` (one integer a row).

    Raises Invalid(`data_malformed`), Unavailable(`data_missing`).
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            x, y = np.asarray(arrays["x"]), np.asarray(arrays["y"])
    except FileNotFoundError:
        raise Unavailable("data_missing", f"there is no data file {path}") from None
    except (OSError, ValueError, KeyError, EOFError, BadZipFile, zlib.error) as error:
        raise Invalid("data_malformed", f"{path} is not an .npz with x and y: {error}") from None
    fits = x.ndim == 2 and x.dtype.kind in "fiu" and y.shape == x.shape[:1] and y.dtype.kind in "iu"
    if not fits or not len(y):
        raise Invalid(
            "data_malformed",
            f"{path}: x must be rows × columns of numbers, and y one integer label a row",
        )
    data = LocalData(x.astype(np.float32), y.astype(np.int64))
    if not np.isfinite(data.x).all():
        raise Invalid("data_malformed", f"{path}: x holds NaN or infinity")
    return data


def save_local_data(path: Path, data: LocalData) -> None:
    """Write what `load_local_data` reads."""
    with path.open("wb") as file:
        np.savez(file, x=data.x, y=data.y)
