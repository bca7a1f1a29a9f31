"""What a panel member attests of a round, recomputed from blobs; and the check of a settled one.

The same inputs give the same verdicts, aggregate and score on every machine; the aggregate's CID
is consensus state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from compute.aggregate import aggregate_mean
from compute.evaluate import evaluate
from compute.parameters import read_model, read_update, write_parameters
from compute.quantize import Int32s
from compute.shard import read_shard
from p2p_aios.codec.cid import cid_of, format_cid, matches
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.types.event import AttestOpened, RoundSettled, UpdateRefused
from p2p_aios.types.learning import (
    Rule,
    Score,
    SubmitTask,
    Verdict,
    check_model,
    refusal_code,
)
from p2p_aios.units import Address, Cid


@dataclass(frozen=True, slots=True)
class Judgement:
    """A round as one panel member sees it."""

    verdicts: tuple[Verdict, ...]
    """One per revealed update, in seat order."""
    aggregate: bytes
    """Blob of the next model; the base blob itself where too few updates were accepted."""
    score: Score
    """Of the aggregate on the task's test shard."""


@dataclass(frozen=True, slots=True)
class Verification:
    """A settled round beside its recomputation."""

    is_equal: bool
    differences: tuple[str, ...]
    """What differs, in words; empty when equal."""
    aggregate: Cid
    score: Score
    contributors: tuple[Address, ...]


def judge(
    task: SubmitTask, base_blob: bytes, update_blobs: Sequence[bytes | None], shard_blob: bytes
) -> Judgement:
    """Verdict on each revealed update (None: nobody served it), next model and its score.

    With no updates at all it checks that a task's model, base and shard fit each other. Raises
    Invalid where the task itself is at fault: codes of `check_model`, `read_model`, `read_shard`,
    `evaluate`.
    """
    check_model(task.model)
    base = read_model(base_blob, task.model)
    shard = read_shard(shard_blob, task.model.layers[0], task.model.layers[-1])
    verdicts, accepted = _read_updates(task, update_blobs)
    if len(accepted) < max(1, task.updates_min):
        return Judgement(verdicts, base_blob, evaluate(task.model, base, shard))
    model = aggregate_by(task.rule, base, accepted)
    return Judgement(verdicts, write_parameters(model), evaluate(task.model, model, shard))


def aggregate_by(rule: Rule, base: Int32s, updates: Sequence[Int32s]) -> Int32s:
    """The next model by the task's rule."""
    match rule:
        case Rule.MEAN:
            return aggregate_mean(base, updates)


def verify_round(
    task: SubmitTask,
    opened: AttestOpened,
    refused: Sequence[UpdateRefused],
    settled: RoundSettled,
    blobs: Mapping[Cid, bytes],
) -> Verification:
    """Recompute a settled round from its CIDs and compare it with what the chain recorded.

    refused: the round's refusals; an update that the chain calls unavailable is taken as such.
    blobs: base, test shard and updates by CID. Raises Unavailable(`blob_missing`) where one that
    the round used is absent, Invalid(`blob_mismatch`) where bytes do not match their CID.
    """
    absent = {r.worker for r in refused if r.code == refusal_code(Verdict.UNAVAILABLE)}
    base = _take(blobs, opened.base)
    shard = _take(blobs, task.test_shard)
    updates = [None if u.worker in absent else _take(blobs, u.update) for u in opened.updates]
    judgement = judge(task, base, updates, shard)
    verdicts = list(zip(opened.updates, judgement.verdicts, strict=True))
    aggregate = cid_of(judgement.aggregate)
    contributors = tuple(u.worker for u, v in verdicts if v is Verdict.ACCEPTED)
    differences = [
        f"{name}: the chain has {recorded}, recomputed {found}"
        for name, recorded, found in (
            ("aggregate", format_cid(settled.aggregate), format_cid(aggregate)),
            ("score", settled.score, judgement.score),
            ("contributors", sorted(settled.contributors), sorted(contributors)),
        )
        if recorded != found
    ]
    return Verification(
        not differences, tuple(differences), aggregate, judgement.score, contributors
    )


def _read_updates(
    task: SubmitTask, blobs: Sequence[bytes | None]
) -> tuple[tuple[Verdict, ...], list[Int32s]]:
    verdicts: list[Verdict] = []
    accepted: list[Int32s] = []
    seen: set[bytes] = set()
    for blob in blobs:
        found = Verdict.UNAVAILABLE
        if blob is not None:
            values = read_update(blob, task.model, task.update_limit)
            if isinstance(values, Verdict):
                found = values
            # Compared decoded: the float32 form of a copied update is a copy all the same.
            elif (key := sha256(values.data).digest()) in seen:
                found = Verdict.DUPLICATE
            else:
                seen.add(key)
                accepted.append(values)
                found = Verdict.ACCEPTED
        verdicts.append(found)
    return tuple(verdicts), accepted


def _take(blobs: Mapping[Cid, bytes], cid: Cid) -> bytes:
    blob = blobs.get(cid)
    if blob is None:
        raise Unavailable("blob_missing", f"nobody served {format_cid(cid)}; try another node")
    if not matches(cid, blob):
        raise Invalid("blob_mismatch", f"the bytes given for {format_cid(cid)} are others")
    return blob
