"""Scores are integers that no batch size, order or layout changes."""

import time
from dataclasses import replace

import numpy as np
import pytest

from compute import evaluate as module
from compute.digits import load_digits_split
from compute.evaluate import cross_entropy, evaluate
from compute.models.initial import initial_parameters
from compute.models.layout import split_layers
from compute.quantize import FRACTION_BITS, INT32_MAX, INT32_MIN, ONE
from compute.shard import Shard, make_shard
from p2p_aios.errors import Invalid
from p2p_aios.types.learning import (
    Activation,
    ModelKind,
    ModelSpec,
    count_parameters,
)

DIGITS = ModelSpec(ModelKind.MLP, (64, 64, 10), Activation.RELU)


def clamp(value: int) -> int:
    return max(INT32_MIN, min(INT32_MAX, value))


def forward_by_hand(spec: ModelSpec, flat: list[int], x: list[int]) -> list[int]:
    """The pass in Python integers, straight from eq. (8)."""
    layers = split_layers(spec, np.array(flat, np.int32))
    for index, (weights, bias) in enumerate(layers):
        z = [
            clamp((sum(w * v for w, v in zip(row, x, strict=True)) >> FRACTION_BITS) + b)
            for row, b in zip(weights.tolist(), bias.tolist(), strict=True)
        ]
        x = z if index == len(layers) - 1 else [max(0, v) for v in z]
    return x


@pytest.mark.parametrize("scale", [1 << 20, 1 << 26, 1 << 31])
def test_eq_8_fixed_point_pass_equals_python_integers(scale: int) -> None:
    spec = ModelSpec(ModelKind.MLP, (5, 7, 6, 3), Activation.RELU)
    random = np.random.default_rng(scale)
    flat = random.integers(-scale, scale, count_parameters(spec)).astype(np.int32)
    x = random.integers(-scale, scale, (9, 5)).astype(np.int32)
    logits = [forward_by_hand(spec, flat.tolist(), row) for row in x.tolist()]
    labels = np.array([row.index(max(row)) for row in logits])
    score = evaluate(spec, flat, Shard(x, labels))
    assert score.correct == score.rows == 9
    assert score.loss == int(cross_entropy(np.array(logits, np.int32), labels).sum())


def test_eq_5_linear_scores_by_theta() -> None:
    spec = ModelSpec(ModelKind.LINEAR, (2, 2), Activation.RELU)
    theta = np.array([1, 0, 0, 1, 0, 0]) * ONE
    shard = make_shard(np.array([[2.0, 1.0], [0.5, 3.0]]), np.array([0, 1]))
    score = evaluate(spec, theta.astype(np.int32), shard)
    expected = sum(np.log1p(np.exp(-gap)) for gap in (1.0, 2.5))
    assert score.correct == 2
    assert abs(score.loss / ONE - expected) < 1e-6


@pytest.mark.parametrize("activation", list(Activation))
def test_batch_size_and_row_order_change_nothing(
    activation: Activation, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = replace(DIGITS, activation=activation)
    flat = initial_parameters(spec, b"batch")
    _, test = load_digits_split()
    shard = make_shard(test.x, test.y)
    whole = evaluate(spec, flat, shard)
    for rows in (1, 7, 64):
        monkeypatch.setattr(module, "BATCH_CELLS_MAX", rows * 64)
        assert evaluate(spec, flat, shard) == whole
    backwards = Shard(np.asfortranarray(shard.features[::-1]), shard.labels[::-1])
    assert evaluate(spec, flat, backwards) == whole


def test_loss_is_the_cross_entropy_of_the_float_model() -> None:
    spec = DIGITS
    flat = initial_parameters(spec, b"loss")
    _, test = load_digits_split()
    score = evaluate(spec, flat, make_shard(test.x, test.y))
    layers = [(w / ONE, b / ONE) for w, b in split_layers(spec, flat.astype(np.float64))]
    (w1, b1), (w2, b2) = layers
    z = np.maximum(test.x.astype(np.float64) @ w1.T + b1, 0) @ w2.T + b2
    log_sum = np.log(np.exp(z).sum(axis=1))
    expected = (log_sum - z[np.arange(len(test.y)), test.y]).sum()
    assert score.loss / ONE == pytest.approx(expected, abs=1e-3)
    assert score.correct == int((z.argmax(axis=1) == test.y).sum())


def test_extremes_stay_in_range() -> None:
    flat = np.full(count_parameters(DIGITS), INT32_MIN, np.int32)
    features = np.full((3, 64), INT32_MIN, np.int32)
    score = evaluate(DIGITS, flat, Shard(features, np.array([0, 1, 2])))
    assert score.loss == 3 * int(cross_entropy(np.zeros((1, 10), np.int32), np.array([0]))[0])


def test_digits_take_milliseconds() -> None:
    flat = initial_parameters(DIGITS, b"speed")
    _, test = load_digits_split()
    shard = make_shard(test.x, test.y)
    evaluate(DIGITS, flat, shard)
    spent = []
    for _ in range(5):
        begun = time.process_time()
        evaluate(DIGITS, flat, shard)
        spent.append(time.process_time() - begun)
    assert min(spent) < 0.1


@pytest.mark.parametrize(("layers", "rows"), [((1, 4000, 4000, 2), 1 << 22), ((1, 1 << 20), 2000)])
def test_a_shard_that_would_keep_a_panel_busy_for_hours_is_refused(
    layers: tuple[int, ...], rows: int
) -> None:
    """64 MiB of rows and 64 MiB of parameters would take days; anybody may submit such a task."""
    kind = ModelKind.MLP if len(layers) > 2 else ModelKind.LINEAR
    spec = ModelSpec(kind, layers, Activation.SIGMOID)
    shard = Shard(np.zeros((rows, 1), np.int32), np.zeros(rows, np.int64))
    with pytest.raises(Invalid) as caught:
        evaluate(spec, np.zeros(count_parameters(spec), np.int32), shard)
    assert caught.value.code == "evaluation_too_large"
