"""Linear model, eq. (5): f(x) = θ_0 + Σ θ_i x_i, one such function per class."""

import numpy as np

from compute.models.layout import Layer
from compute.quantize import Float32s


def logits(theta: Layer[np.float32], x: Float32s) -> Float32s:
    """f(x) for each row and class.

    theta: (θ_i with shape (classes, n), θ_0 with shape (classes,)); x: (rows, n);
    result: (rows, classes).
    """
    weights, theta_0 = theta
    return theta_0 + x @ weights.T


def gradient(x: Float32s, d_logits: Float32s) -> Layer[np.float32]:
    """∂L/∂θ from ∂L/∂f; x: (rows, n), d_logits: (rows, classes)."""
    return d_logits.T @ x, d_logits.sum(axis=0)
