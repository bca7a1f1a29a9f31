"""Neural network, eq. (8): y = σ(W_2 σ(W_1 x + b_1) + b_2), to any depth.

Deviation: the outermost σ is left out. The last layer gives logits, whose softmax belongs to the
loss; it changes no ranking of classes.
"""

from collections.abc import Sequence

import numpy as np

from compute.models.layout import Layer
from compute.quantize import Float32s
from p2p_aios.types.learning import Activation


def sigma(kind: Activation, z: Float32s) -> Float32s:
    """σ(z), element by element."""
    if kind is Activation.RELU:
        return np.maximum(z, np.float32(0))
    one = np.float32(1)
    y: Float32s = one / (one + np.exp(-np.clip(z, np.float32(-60), np.float32(60))))
    return y


def sigma_slope(kind: Activation, y: Float32s) -> Float32s:
    """σ'(z) in terms of y = σ(z)."""
    if kind is Activation.RELU:
        return (y > 0).astype(np.float32)
    return y * (1 - y)


def forward(
    layers: Sequence[Layer[np.float32]], kind: Activation, x: Float32s
) -> tuple[list[Float32s], Float32s]:
    """Inputs of each layer, (rows, inputs) each, and the logits, (rows, classes)."""
    inputs = [x]
    for weights, bias in layers[:-1]:
        inputs.append(sigma(kind, inputs[-1] @ weights.T + bias))
    weights, bias = layers[-1]
    return inputs, inputs[-1] @ weights.T + bias


def gradient(
    layers: Sequence[Layer[np.float32]],
    kind: Activation,
    inputs: Sequence[Float32s],
    d_logits: Float32s,
) -> list[Layer[np.float32]]:
    """∂L/∂W and ∂L/∂b of every layer by back-propagation from ∂L/∂logits, (rows, classes)."""
    gradients: list[Layer[np.float32]] = []
    d_z = d_logits
    for index in reversed(range(len(layers))):
        gradients.append((d_z.T @ inputs[index], d_z.sum(axis=0)))
        if index:
            d_z = (d_z @ layers[index][0]) * sigma_slope(kind, inputs[index])
    gradients.reverse()
    return gradients
