"""How a model's parameters lie in one flat vector.

Layer by layer from the inputs: the weights W, row-major with shape (outputs, inputs), then the
biases b, shape (outputs,). A linear model is a single layer.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from p2p_aios.types.learning import ModelSpec

Scalar = TypeVar("Scalar", bound=np.generic)
Layer = tuple[npt.NDArray[Scalar], npt.NDArray[Scalar]]
"""(W, b) with shapes (outputs, inputs) and (outputs,)."""


def split_layers(spec: ModelSpec, flat: npt.NDArray[Scalar]) -> list[Layer[Scalar]]:
    """Views of `flat` (shape (count_parameters(spec),)) as (W, b) pairs."""
    layers: list[Layer[Scalar]] = []
    start = 0
    for inputs, outputs in pairwise(spec.layers):
        end = start + outputs * inputs
        layers.append((flat[start:end].reshape(outputs, inputs), flat[end : end + outputs]))
        start = end + outputs
    return layers


def join_layers(layers: Sequence[Layer[Any]]) -> npt.NDArray[Any]:
    """Inverse of `split_layers`: one flat vector."""
    return np.concatenate([part.ravel() for layer in layers for part in layer])
