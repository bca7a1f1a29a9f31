"""What a panel attests, and the independent check of a settled round."""

from dataclasses import replace

import numpy as np
import pytest

from compute.aggregate import aggregate_mean
from compute.judge import judge, refusal_code, verify_round
from compute.local_data import LocalData
from compute.models.initial import initial_parameters
from compute.parameters import Format, ParameterBlob, read_model, write_parameters
from compute.training import train_update
from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.types.event import AttestOpened, RevealedUpdate, RoundSettled, UpdateRefused
from p2p_aios.types.learning import (
    Activation,
    ModelKind,
    ModelSpec,
    SubmitTask,
    Verdict,
    count_parameters,
)
from p2p_aios.units import Address, Amount, Cid, Hash, Height

SPEC = ModelSpec(ModelKind.MLP, (3, 4, 2), Activation.RELU)
COUNT = count_parameters(SPEC)
BASE = initial_parameters(SPEC, b"judge")
BASE_BLOB = write_parameters(BASE)


def update(value: int) -> bytes:
    return write_parameters(np.full(COUNT, value, np.int32))


def as_float32(value: int) -> bytes:
    data = np.full(COUNT, value / 2**24, "<f4").tobytes()
    return schema.encode(ParameterBlob(1, Format.FLOAT32, COUNT, data))


@pytest.fixture
def task(make_task: object, tiny_shard: bytes) -> SubmitTask:
    return make_task(SPEC, BASE_BLOB, tiny_shard)  # type: ignore[operator,no-any-return]


def test_one_bad_update_of_each_kind_spoils_nothing(task: SubmitTask, tiny_shard: bytes) -> None:
    nan = schema.encode(
        ParameterBlob(1, Format.FLOAT32, COUNT, np.full(COUNT, np.nan, "<f4").tobytes())
    )
    blobs = [
        update(64),
        None,
        b"junk",
        write_parameters(np.zeros(COUNT - 1, np.int32)),
        nan,
        update(task.update_limit + 1),
        write_parameters(np.zeros(COUNT + 100, np.int32)),
        update(64),
        as_float32(64),
        update(128),
    ]
    found = judge(task, BASE_BLOB, blobs, tiny_shard)
    assert found.verdicts == (
        Verdict.ACCEPTED,
        Verdict.UNAVAILABLE,
        Verdict.MALFORMED,
        Verdict.MISSHAPEN,
        Verdict.NON_FINITE,
        Verdict.OUT_OF_RANGE,
        Verdict.OVERSIZED,
        Verdict.DUPLICATE,
        Verdict.DUPLICATE,
        Verdict.ACCEPTED,
    )
    accepted = [np.full(COUNT, value, np.int32) for value in (64, 128)]
    assert np.array_equal(read_model(found.aggregate, SPEC), aggregate_mean(BASE, accepted))


def test_too_few_updates_keep_the_base(task: SubmitTask, tiny_shard: bytes) -> None:
    strict = replace(task, updates_min=2)
    found = judge(strict, BASE_BLOB, [update(5), None], tiny_shard)
    assert found.verdicts == (Verdict.ACCEPTED, Verdict.UNAVAILABLE)
    assert found.aggregate == BASE_BLOB
    assert found.score == judge(task, BASE_BLOB, [], tiny_shard).score


def test_a_task_that_does_not_fit_is_invalid(task: SubmitTask, tiny_shard: bytes) -> None:
    for base, shard, code in (
        (b"junk", tiny_shard, "model_malformed"),
        (update(1)[:-1], tiny_shard, "model_malformed"),
        (BASE_BLOB, b"junk", "shard_malformed"),
    ):
        with pytest.raises(Invalid) as caught:
            judge(task, base, [], shard)
        assert caught.value.code == code


@pytest.fixture
def settled_round(
    task: SubmitTask, tiny_shard: bytes, tiny_data: LocalData
) -> tuple[AttestOpened, list[UpdateRefused], RoundSettled, dict[Cid, bytes]]:
    """A round of three seats: two trained, the third never served its blob."""
    id = Hash(bytes(32))
    workers = [Address(bytes([n]) * 20) for n in (3, 1, 2)]
    updates = [
        write_parameters(train_update(SPEC, task.plan, BASE, tiny_data, bytes([n]) * 32))
        for n in range(3)
    ]
    blobs = [updates[0], updates[1], None]
    judgement = judge(task, BASE_BLOB, blobs, tiny_shard)
    revealed = tuple(RevealedUpdate(w, cid_of(u)) for w, u in zip(workers, updates, strict=True))
    opened = AttestOpened(id, 0, task.base, revealed, Height(9))
    refused = [UpdateRefused(id, 0, workers[2], refusal_code(Verdict.UNAVAILABLE))]
    settled = RoundSettled(
        id, 0, cid_of(judgement.aggregate), judgement.score, Amount(1), tuple(workers[:2])
    )
    stored = {cid_of(b): b for b in (BASE_BLOB, tiny_shard, updates[0], updates[1])}
    return opened, refused, settled, stored


def test_an_honest_round_verifies(
    task: SubmitTask,
    settled_round: tuple[AttestOpened, list[UpdateRefused], RoundSettled, dict[Cid, bytes]],
) -> None:
    opened, refused, settled, blobs = settled_round
    found = verify_round(task, opened, refused, settled, blobs)
    assert found.is_equal
    assert found.differences == ()
    assert found.contributors == settled.contributors


def test_a_forged_round_does_not(
    task: SubmitTask,
    settled_round: tuple[AttestOpened, list[UpdateRefused], RoundSettled, dict[Cid, bytes]],
) -> None:
    opened, refused, settled, blobs = settled_round
    forged = [
        replace(settled, aggregate=cid_of(b"another model")),
        replace(settled, score=replace(settled.score, correct=settled.score.correct ^ 1)),
        replace(settled, contributors=settled.contributors[:1]),
    ]
    for claim, word in zip(forged, ("aggregate", "score", "contributors"), strict=True):
        found = verify_round(task, opened, refused, claim, blobs)
        assert not found.is_equal
        assert [line.split(":")[0] for line in found.differences] == [word]


def test_missing_or_swapped_blobs_are_named(
    task: SubmitTask,
    settled_round: tuple[AttestOpened, list[UpdateRefused], RoundSettled, dict[Cid, bytes]],
) -> None:
    opened, refused, settled, blobs = settled_round
    cid = opened.updates[0].update
    with pytest.raises(Unavailable) as missing:
        verify_round(task, opened, refused, settled, {k: v for k, v in blobs.items() if k != cid})
    assert missing.value.code == "blob_missing"
    with pytest.raises(Invalid) as swapped:
        verify_round(task, opened, refused, settled, blobs | {cid: b"other"})
    assert swapped.value.code == "blob_mismatch"
