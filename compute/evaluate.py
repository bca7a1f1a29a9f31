"""Exact evaluation: a fixed-point forward pass and an integer loss (DESIGN §9, "Evaluate").

Per layer: z = ⌊W x / 2^24⌋ + b, saturated at int32; then max(0, z) or the integer σ. The loss of
a row is softmax cross-entropy, max z + ln Σ e^(z_j - max z) - z_label, in integers as well. Rows
never meet, so batch size, BLAS, threads and machine make no difference: honest scores are *equal*.
"""

from typing import Final

import numpy as np

from compute import exact
from compute.models.layout import split_layers
from compute.quantize import Float64s, Int32s, Int64s
from compute.shard import Shard
from p2p_aios.errors import Invalid
from p2p_aios.types.learning import (
    Activation,
    ModelSpec,
    Score,
    check_model,
    count_parameters,
)

BATCH_CELLS_MAX: Final = 1 << 20
"""Most activations held at once; bounds memory, changes no result."""
WORK_MAX: Final = 1 << 34
"""Most work of one evaluation, in multiplications: about half a minute. Anybody may submit a task,
and each of its rounds is evaluated by every panel member."""
_ACTIVATION_WORK: Final = 16
"""What an activation and its part of the loss cost, in multiplications."""


def evaluate(spec: ModelSpec, parameters: Int32s, shard: Shard) -> Score:
    """Score of a model on every row of a shard.

    parameters: int32 with 24 fractional bits, shape (count_parameters(spec),). Raises Invalid:
    `evaluation_too_large`, and as `check_model` does.
    """
    check_model(spec)
    _check_work(spec, len(shard.labels))
    layers = [(exact.limbs_of(w), b) for w, b in split_layers(spec, parameters)]
    rows = len(shard.labels)
    step = max(1, BATCH_CELLS_MAX // max(spec.layers))
    loss = correct = 0
    for start in range(0, rows, step):
        batch = slice(start, start + step)
        z = _forward(spec.activation, layers, shard.features[batch])
        labels = shard.labels[batch]
        loss += int(cross_entropy(z, labels).sum())
        correct += int((z.argmax(axis=1) == labels).sum())
    return Score(loss, correct, rows)


def _check_work(spec: ModelSpec, rows: int) -> None:
    work = rows * (count_parameters(spec) + _ACTIVATION_WORK * sum(spec.layers[1:]))
    if work > WORK_MAX:
        raise Invalid(
            "evaluation_too_large",
            f"{rows} rows times {count_parameters(spec)} parameters are too much for a panel:"
            " make a smaller shard",
        )


def cross_entropy(z: Int32s, labels: Int64s) -> Int64s:
    """-ln softmax(z)[label] per row, 24 fractional bits, at least 0; z: (rows, classes)."""
    wide = z.astype(np.int64)
    top = wide.max(axis=1)
    total = exact.exp_negative(top[:, np.newaxis] - wide).sum(axis=1)
    chosen = wide[np.arange(len(labels)), labels]
    result: Int64s = top - chosen + exact.ln(total)
    return result


def _forward(
    activation: Activation,
    layers: list[tuple[tuple[Float64s, Float64s], Int32s]],
    x: Int32s,
) -> Int32s:
    for weights, bias in layers[:-1]:
        z = exact.affine(x, weights, bias)
        x = exact.relu(z) if activation is Activation.RELU else exact.sigmoid(z)
    weights, bias = layers[-1]
    return exact.affine(x, weights, bias)
