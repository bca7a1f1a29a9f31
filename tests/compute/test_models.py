"""Eq. (5) and eq. (8) in float32, their gradients, and the initial parameters."""

import hashlib

import numpy as np
import pytest

from compute.models import linear, mlp
from compute.models.initial import initial_parameters
from compute.models.layout import join_layers, split_layers
from compute.quantize import ONE
from compute.training import d_cross_entropy
from p2p_aios.errors import Invalid
from p2p_aios.types.learning import (
    Activation,
    ModelKind,
    ModelSpec,
    check_model,
    count_parameters,
)

DEEP = ModelSpec(ModelKind.MLP, (4, 6, 5, 3), Activation.SIGMOID)


def test_eq_5_is_theta_0_plus_the_weighted_inputs() -> None:
    theta = (np.array([[2, 3]], np.float32), np.array([1], np.float32))
    assert linear.logits(theta, np.array([[10, 100]], np.float32)).tolist() == [[321.0]]


def test_eq_8_is_sigma_of_w_x_plus_b_layer_by_layer() -> None:
    w1, b1 = np.array([[1, -1], [0.5, 0.5]], np.float32), np.array([0, 1], np.float32)
    w2, b2 = np.array([[1, 2]], np.float32), np.array([-1], np.float32)
    x = np.array([[3, 1]], np.float32)
    for kind in Activation:
        hidden = mlp.sigma(kind, x @ w1.T + b1)
        _, logits = mlp.forward([(w1, b1), (w2, b2)], kind, x)
        assert np.allclose(logits, hidden @ w2.T + b2)


def mean_cross_entropy(z: np.ndarray, y: np.ndarray) -> float:
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(y)), y]).mean())


@pytest.mark.parametrize("kind", list(Activation))
def test_back_propagation_agrees_with_finite_differences(kind: Activation) -> None:
    random = np.random.default_rng(3)
    flat = random.normal(size=count_parameters(DEEP))
    x, y = random.normal(size=(8, 4)), random.integers(0, 3, 8)

    def loss(parameters: np.ndarray) -> float:
        return mean_cross_entropy(mlp.forward(split_layers(DEEP, parameters), kind, x)[1], y)

    layers = split_layers(DEEP, flat)
    inputs, logits = mlp.forward(layers, kind, x)
    found = join_layers(mlp.gradient(layers, kind, inputs, d_cross_entropy(logits, y)))
    for index in range(0, len(flat), 5):
        step = np.zeros_like(flat)
        step[index] = 1e-6
        numeric = (loss(flat + step) - loss(flat - step)) / 2e-6
        assert found[index] == pytest.approx(numeric, abs=1e-5)


def test_layers_split_and_join_without_loss() -> None:
    flat = np.arange(count_parameters(DEEP))
    layers = split_layers(DEEP, flat)
    assert [w.shape for w, _ in layers] == [(6, 4), (5, 6), (3, 5)]
    assert np.array_equal(join_layers(layers), flat)


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        (ModelSpec(ModelKind.LINEAR, (3, 4, 2), Activation.RELU), "model_malformed"),
        (ModelSpec(ModelKind.LINEAR, (3, 1), Activation.RELU), "model_malformed"),
        (ModelSpec(ModelKind.MLP, (1 << 20, 1 << 20, 2), Activation.RELU), "model_too_large"),
    ],
)
def test_impossible_shapes_are_refused(spec: ModelSpec, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_model(spec)
    assert caught.value.code == code


def test_initial_parameters_are_golden_bounded_and_differ_by_seed() -> None:
    spec = ModelSpec(ModelKind.MLP, (64, 64, 10), Activation.RELU)
    flat = initial_parameters(spec, b"seed")
    assert hashlib.sha256(flat.astype("<i4").tobytes()).hexdigest() == INITIAL_DIGEST
    assert not np.array_equal(flat, initial_parameters(spec, b"other"))
    (weights, bias), _ = split_layers(spec, flat)
    assert np.abs(weights).max() <= np.sqrt(6 / 64) * ONE
    assert abs(weights.mean()) < 0.01 * ONE
    assert weights.std() == pytest.approx(np.sqrt(6 / 64 / 3) * ONE, rel=0.05)
    assert not bias.any()


INITIAL_DIGEST = "61f41ff7fddd7540cd6fe19210daf2f4ec5430c1ccecbe08ca35c7468d287f15"
