"""Initial parameters from a seed, by integers alone: anyone can recompute a task's base model.

Weights are uniform in ±√(6 / inputs) for ReLU (He) and ±√(6 / (inputs + outputs)) otherwise
(Glorot); biases are zero. The random words are sha256("aios/initial/v1" ‖ seed ‖ layer ‖ counter),
read as eight big-endian 32-bit words each.
"""

import hashlib
from itertools import pairwise
from math import isqrt
from typing import Final

import numpy as np

from compute.models.layout import Layer, join_layers
from compute.quantize import FRACTION_BITS, Int32s, Int64s
from p2p_aios.types.learning import (
    Activation,
    ModelKind,
    ModelSpec,
    check_model,
)

_DOMAIN: Final = b"aios/initial/v1"
_WORDS_PER_DIGEST: Final = 8


def initial_parameters(spec: ModelSpec, seed: bytes) -> Int32s:
    """The flat parameter vector, int32 with 24 fractional bits, shape (count_parameters(spec),).

    Raises Invalid: `model_malformed`, `model_too_large`.
    """
    check_model(spec)
    layers: list[Layer[np.int32]] = []
    for index, (inputs, outputs) in enumerate(pairwise(spec.layers)):
        is_he = spec.kind is ModelKind.MLP and spec.activation is Activation.RELU
        spread = inputs if is_he else inputs + outputs
        bound = isqrt((6 << (2 * FRACTION_BITS)) // spread)
        words = _random_words(seed, index, inputs * outputs)
        weights = ((words * (2 * bound + 1)) >> 32) - bound
        layers.append(
            (weights.astype(np.int32).reshape(outputs, inputs), np.zeros(outputs, np.int32))
        )
    return join_layers(layers)


def _random_words(seed: bytes, layer: int, count: int) -> Int64s:
    prefix = _DOMAIN + hashlib.sha256(seed).digest() + layer.to_bytes(2, "big")
    digests = b"".join(
        hashlib.sha256(prefix + counter.to_bytes(8, "big")).digest()
        for counter in range(-(-count // _WORDS_PER_DIGEST))
    )
    return np.frombuffer(digests, ">u4")[:count].astype(np.int64)
