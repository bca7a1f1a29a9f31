"""Local SGD, federated rounds on the digits, and the uneven split."""

from dataclasses import replace

import numpy as np
import pytest

from compute.aggregate import aggregate_mean
from compute.digits import load_digits_split
from compute.evaluate import evaluate
from compute.local_data import LocalData
from compute.models.initial import initial_parameters
from compute.partition import dirichlet_split
from compute.shard import make_shard
from compute.training import train_model, train_update, training_seed
from p2p_aios.errors import Invalid
from p2p_aios.types.learning import (
    Activation,
    ModelKind,
    ModelSpec,
    TrainingPlan,
    count_parameters,
)

DIGITS = ModelSpec(ModelKind.MLP, (64, 64, 10), Activation.RELU)
TINY = ModelSpec(ModelKind.LINEAR, (3, 2), Activation.RELU)
PLAN = TrainingPlan(epochs=2, batch=16, learning_rate=200_000_000)


def test_same_seed_same_update_other_seed_another(tiny_data: LocalData) -> None:
    base = initial_parameters(TINY, b"base")
    first, again, other = (
        train_update(TINY, PLAN, base, tiny_data, training_seed(b"task", r, b"worker"))
        for r in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_divergence_is_refused_before_it_leaves(tiny_data: LocalData) -> None:
    wild = replace(PLAN, learning_rate=10**12, epochs=20)
    huge = LocalData(tiny_data.x * 1e6, tiny_data.y)
    with pytest.raises(Invalid) as caught:
        train_update(TINY, wild, initial_parameters(TINY, b""), huge, bytes(32))
    assert caught.value.code == "training_diverged"


@pytest.mark.parametrize(("layers", "rows"), [((3, 1 << 20, 2), 65), ((3, 4000, 4000, 2), 2200)])
def test_a_task_too_large_for_a_step_is_refused_before_it_takes_memory(
    layers: tuple[int, ...], rows: int
) -> None:
    spec = ModelSpec(ModelKind.MLP, layers, Activation.RELU)
    data = LocalData(np.zeros((rows, 3), np.float32), np.zeros(rows, np.int64))
    base = np.zeros(count_parameters(spec), np.int32)
    with pytest.raises(Invalid) as caught:
        train_update(spec, replace(PLAN, batch=1 << 16), base, data, bytes(32))
    assert caught.value.code == "training_too_large"


@pytest.mark.parametrize(
    "data",
    [
        LocalData(np.zeros((4, 5), np.float32), np.zeros(4, np.int64)),
        LocalData(np.zeros((4, 3), np.float32), np.full(4, 2)),
        LocalData(np.zeros((0, 3), np.float32), np.zeros(0, np.int64)),
    ],
)
def test_data_of_another_shape_is_refused(data: LocalData) -> None:
    with pytest.raises(Invalid) as caught:
        train_update(TINY, PLAN, initial_parameters(TINY, b""), data, bytes(32))
    assert caught.value.code == "data_misshapen"


def test_split_is_seeded_complete_and_uneven() -> None:
    train, _ = load_digits_split()
    split = dirichlet_split(train.y, parts=3, alpha=0.5, seed=7)
    again = dirichlet_split(train.y, parts=3, alpha=0.5, seed=7)
    assert all(np.array_equal(a, b) for a, b in zip(split, again, strict=True))
    assert np.array_equal(np.sort(np.concatenate(split)), np.arange(len(train.y)))
    counts = np.array([np.bincount(train.y[part], minlength=10) for part in split])
    assert (counts.max(axis=0) > 2 * counts.min(axis=0)).sum() >= 5


def test_split_into_too_many_parts_is_refused() -> None:
    with pytest.raises(Invalid) as caught:
        dirichlet_split(np.zeros(10, np.int64), parts=5, alpha=0.5, seed=0)
    assert caught.value.code == "split_impossible"


def test_federated_digits_come_near_central_training() -> None:
    train, test = load_digits_split()
    shard = make_shard(test.x, test.y)
    parts = dirichlet_split(train.y, parts=4, alpha=0.5, seed=1)
    owned = [LocalData(train.x[part], train.y[part]) for part in parts]
    model = base = initial_parameters(DIGITS, b"digits")
    for number in range(20):
        updates = [
            train_update(DIGITS, PLAN, model, data, training_seed(b"", number, bytes([k])))
            for k, data in enumerate(owned)
        ]
        model = aggregate_mean(model, updates)
    accuracy = evaluate(DIGITS, model, shard).correct / len(test.y)
    central = train_model(DIGITS, replace(PLAN, epochs=40), base, train, bytes(32))
    central_accuracy = evaluate(DIGITS, central, shard).correct / len(test.y)
    print(f"federated {accuracy:.4f} central {central_accuracy:.4f}")
    assert accuracy > 0.9
    assert accuracy > central_accuracy - 0.03
