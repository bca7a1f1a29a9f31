"""Tasks and data that the tests of compute share."""

from collections.abc import Callable

import numpy as np
import pytest

from compute.local_data import LocalData
from compute.shard import make_shard, write_shard
from p2p_aios.codec.cid import cid_of
from p2p_aios.types.learning import ModelSpec, Rule, SubmitTask, TrainingPlan
from p2p_aios.units import Amount

MakeTask = Callable[..., SubmitTask]


@pytest.fixture(scope="session")
def make_task() -> MakeTask:
    """Builds a task around blobs; windows and amounts are those of no particular network."""

    def build(spec: ModelSpec, base: bytes, shard: bytes, updates_min: int = 1) -> SubmitTask:
        return SubmitTask(
            model=spec,
            base=cid_of(base),
            plan=TrainingPlan(epochs=2, batch=16, learning_rate=100_000_000),
            rule=Rule.MEAN,
            test_shard=cid_of(shard),
            update_limit=1 << 26,
            rounds=20,
            seats=8,
            updates_min=updates_min,
            commit_blocks=10,
            reveal_blocks=10,
            attest_blocks=10,
            budget=Amount(10**9),
            bond=Amount(10**6),
        )

    return build


@pytest.fixture(scope="session")
def tiny_data() -> LocalData:
    """40 rows of two separable classes in three dimensions."""
    random = np.random.default_rng(5)
    y = random.integers(0, 2, 40)
    x = random.normal(size=(40, 3)) + 3 * y[:, np.newaxis]
    return LocalData(x.astype(np.float32), y.astype(np.int64))


@pytest.fixture(scope="session")
def tiny_shard(tiny_data: LocalData) -> bytes:
    """The same rows as a shard blob."""
    return write_shard(make_shard(tiny_data.x, tiny_data.y))
