"""The learning problem of a testnet: handwritten digits, spread unevenly over its workers.

Each worker gets its rows as a file of its own; the test rows and the model's first parameters are
public blobs. 64-64-10, four local passes a round: in 20 rounds this comes within a point of the
same passes made over all rows at once.
"""

from typing import Final

from compute.digits import load_digits_split
from compute.evaluate import evaluate
from compute.local_data import LocalData, save_local_data
from compute.models.initial import initial_parameters
from compute.parameters import write_parameters
from compute.partition import dirichlet_split
from compute.shard import make_shard, write_shard
from compute.training import train_model
from p2p_aios.codec.cid import cid_of
from p2p_aios.types.learning import (
    Activation,
    ModelKind,
    ModelSpec,
    Rule,
    Score,
    SubmitTask,
    TrainingPlan,
)
from p2p_aios.units import AIOS, Amount
from testnet.layout import Layout, Plan

MODEL: Final = ModelSpec(ModelKind.MLP, (64, 64, 10), Activation.RELU)
TRAINING: Final = TrainingPlan(epochs=4, batch=16, learning_rate=50_000_000)
MODEL_SEED: Final = b"aios/digits"
SPLIT_SEED: Final = 0
DIRICHLET_ALPHA: Final = 0.5
UPDATE_LIMIT: Final = 8 << 24
"""No weight moves by more than 8 in a round."""
WINDOW_BLOCKS: Final = 24
"""Twelve seconds: phases close early, so this only bounds the wait for one who is gone."""
BUDGET: Final = Amount(10_000 * AIOS)
BOND: Final = Amount(AIOS)


def write_digits(layout: Layout, plan: Plan) -> None:
    """Each worker's `data.npz` (x: (rows, 64), y: (rows,)), and the two public blobs."""
    train, test = load_digits_split()
    if plan.workers:
        split = dirichlet_split(train.y, len(plan.workers), DIRICHLET_ALPHA, SPLIT_SEED)
        for worker, rows in zip(plan.workers, split, strict=True):
            folder = layout.worker(worker.name)
            folder.mkdir(parents=True, exist_ok=True)
            save_local_data(folder / "data.npz", LocalData(train.x[rows], train.y[rows]))
    layout.digits.mkdir(parents=True, exist_ok=True)
    layout.test_shard.write_bytes(write_shard(make_shard(test.x, test.y)))
    layout.base_model.write_bytes(write_parameters(initial_parameters(MODEL, MODEL_SEED)))


def digits_task(layout: Layout, plan: Plan, rounds: int) -> SubmitTask:
    """The task whose blobs `write_digits` made; one absent worker does not void a round."""
    seats = max(1, len(plan.workers))
    return SubmitTask(
        model=MODEL,
        base=cid_of(layout.base_model.read_bytes()),
        plan=TRAINING,
        rule=Rule.MEAN,
        test_shard=cid_of(layout.test_shard.read_bytes()),
        update_limit=UPDATE_LIMIT,
        rounds=rounds,
        seats=seats,
        updates_min=max(1, seats - 1),
        commit_blocks=WINDOW_BLOCKS,
        reveal_blocks=WINDOW_BLOCKS,
        attest_blocks=WINDOW_BLOCKS,
        budget=BUDGET,
        bond=BOND,
    )


def train_centrally(rounds: int) -> Score:
    """The same model after as many passes over all the rows in one place, scored alike."""
    train, test = load_digits_split()
    passes = TrainingPlan(TRAINING.epochs * rounds, TRAINING.batch, TRAINING.learning_rate)
    base = initial_parameters(MODEL, MODEL_SEED)
    data = LocalData(train.x, train.y)
    parameters = train_model(MODEL, passes, base, data, seed=MODEL_SEED)
    return evaluate(MODEL, parameters, make_shard(test.x, test.y))
