"""Local training: plain SGD on softmax cross-entropy in float32, seeded, on the owner's data.

The result leaves this file as an update in fixed point: quantize(local parameters) - base. Two
machines may round differently; that is fine, since nobody else has the data to repeat it.
"""

import hashlib
import time
from typing import Final

import numpy as np
import numpy.typing as npt

from compute.local_data import LocalData
from compute.models import linear, mlp
from compute.models.layout import Layer, join_layers, split_layers
from compute.quantize import INT32_MAX, Float32s, Int32s, dequantize, quantize
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.types.learning import (
    ModelKind,
    ModelSpec,
    TrainingPlan,
    check_model,
    count_parameters,
)

RATE_ONE: Final = 10**9
"""1.0 in the unit of `TrainingPlan.learning_rate`."""
TRAINING_SECONDS_MAX: Final = 120.0
STEP_CELLS_MAX: Final = 1 << 26
"""Most activations of one layer in one step: 256 MiB. A task names model and batch, and must not
be able to take a contributor's machine down."""
STEP_WORK_MAX: Final = 1 << 35
"""Most rows times parameters in one step: seconds, so that the time limit is looked at."""


def training_seed(task: bytes, round: int, worker: bytes) -> bytes:
    """Seed of one worker's shuffles in one round."""
    return hashlib.sha256(b"aios/training/v1" + task + round.to_bytes(8, "big") + worker).digest()


def train_update(
    spec: ModelSpec, plan: TrainingPlan, base: Int32s, data: LocalData, seed: bytes
) -> Int32s:
    """Update ΔM = M_local - M; base: int32 with 24 fractional bits, (count_parameters(spec),).

    Raises Invalid: `training_diverged`, `training_too_large`, `data_misshapen`, codes of
    `check_model`; Unavailable: `training_too_slow`.
    """
    local = train_model(spec, plan, base, data, seed).astype(np.int64)
    update = local - base
    if np.abs(update).max() > INT32_MAX:
        raise _diverged()
    return update.astype(np.int32)


def train_model(
    spec: ModelSpec, plan: TrainingPlan, base: Int32s, data: LocalData, seed: bytes
) -> Int32s:
    """Parameters after `plan` on `data`, in fixed point; the reference for central training too.

    Raises as `train_update` does.
    """
    check_model(spec)
    _check_data(spec, data)
    _check_step(spec, min(plan.batch, len(data.y)))
    layers = split_layers(spec, dequantize(base))
    random = np.random.Generator(np.random.PCG64(int.from_bytes(seed, "big")))
    rate = np.float32(plan.learning_rate / RATE_ONE)
    gives_up_at = time.monotonic() + TRAINING_SECONDS_MAX
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(plan.epochs):
            order = random.permutation(len(data.y))
            for start in range(0, len(order), plan.batch):
                rows = order[start : start + plan.batch]
                _descend(spec, layers, data.x[rows], data.y[rows], rate)
                if time.monotonic() > gives_up_at:
                    raise Unavailable(
                        "training_too_slow", f"training took over {TRAINING_SECONDS_MAX:.0f} s"
                    )
    try:
        return quantize(join_layers(layers))
    except Invalid:
        raise _diverged() from None


def d_cross_entropy(logits: Float32s, y: npt.NDArray[np.int64]) -> Float32s:
    """∂(mean cross-entropy)/∂logits = (softmax - onehot(y)) / rows; logits: (rows, classes)."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    gradient: Float32s = shifted / shifted.sum(axis=1, keepdims=True)
    gradient[np.arange(len(y)), y] -= 1
    gradient /= np.float32(len(y))
    return gradient


def _descend(
    spec: ModelSpec,
    layers: list[Layer[np.float32]],
    x: Float32s,
    y: npt.NDArray[np.int64],
    rate: np.float32,
) -> None:
    """One step of SGD, in place."""
    if spec.kind is ModelKind.LINEAR:
        theta = layers[0]
        gradients = [linear.gradient(x, d_cross_entropy(linear.logits(theta, x), y))]
    else:
        inputs, logits = mlp.forward(layers, spec.activation, x)
        gradients = mlp.gradient(layers, spec.activation, inputs, d_cross_entropy(logits, y))
    for (weights, bias), (d_weights, d_bias) in zip(layers, gradients, strict=True):
        weights -= rate * d_weights
        bias -= rate * d_bias


def _check_data(spec: ModelSpec, data: LocalData) -> None:
    if data.x.shape != (len(data.y), spec.layers[0]) or not len(data.y):
        raise Invalid(
            "data_misshapen",
            f"local data has shape {data.x.shape}; the model takes {spec.layers[0]} columns",
        )
    if int(data.y.min()) < 0 or int(data.y.max()) >= spec.layers[-1]:
        raise Invalid("data_misshapen", f"a label lies outside the {spec.layers[-1]} outputs")


def _check_step(spec: ModelSpec, rows: int) -> None:
    is_wide = rows * max(spec.layers) > STEP_CELLS_MAX
    if is_wide or rows * count_parameters(spec) > STEP_WORK_MAX:
        raise Invalid(
            "training_too_large",
            f"a step of {rows} rows through this model takes too much: use a smaller batch",
        )


def _diverged() -> Invalid:
    return Invalid(
        "training_diverged", "local training left the range of fixed point: lower the learning rate"
    )
