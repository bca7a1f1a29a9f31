"""Allow-listed jobs: data in, data out, and the digests that a receipt binds them with."""

import hashlib
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cbor2
import numpy as np

from compute.evaluate import evaluate
from compute.judge import aggregate_by
from compute.local_data import LocalData
from compute.parameters import read_model, read_update, write_parameters
from compute.quantize import Int32s
from compute.shard import read_shard
from compute.training import train_update, training_seed
from p2p_aios.codec import schema
from p2p_aios.crypto.hashing import sha256
from p2p_aios.errors import Invalid
from p2p_aios.types.compute import (
    AggregateArguments,
    EvaluateArguments,
    JobKind,
    JobReceipt,
    TrainArguments,
    input_digest,
)
from p2p_aios.types.gateway import RunJob
from p2p_aios.types.learning import (
    Verdict,
    check_model,
    refusal_code,
)
from p2p_aios.units import Cid, Hash


@dataclass(frozen=True, slots=True)
class JobOutput:
    blob: bytes
    units: int
    """Work done, in the kind's unit."""


def run_job(request: RunJob, inputs: Sequence[bytes], data: LocalData) -> JobOutput:
    """Run one job; the same request, inputs and data give the same output.

    Raises Invalid: `job_inputs`, `update_` and a verdict's name, codes of `schema.decode` for the
    arguments, and those of the kind's own work.
    """
    match request.kind:
        case JobKind.TRAIN:
            return _train(request, inputs, data)
        case JobKind.EVALUATE:
            return _evaluate(request, inputs)
        case JobKind.AGGREGATE:
            return _aggregate(request, inputs)


def make_receipt(request: RunJob, output: Cid, units: int) -> JobReceipt:
    """The statement that the worker signs."""
    return JobReceipt(
        job=request.job,
        nonce=request.assignment,
        code=code_digest(),
        input=input_digest(request.inputs, request.arguments),
        environment=environment_digest(),
        output=output,
        units=units,
    )


@cache
def code_digest() -> Hash:
    """sha256 over the names and bytes of this package's modules, in order of name."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        name = path.relative_to(folder).as_posix().encode()
        digest.update(len(name).to_bytes(4, "big") + name + sha256(path.read_bytes()))
    return Hash(digest.digest())


@cache
def environment_digest() -> Hash:
    """sha256 of interpreter, library versions and machine kind."""
    version = ".".join(map(str, sys.version_info[:3]))
    names = (platform.python_implementation(), version, np.__version__, cbor2.__name__)
    machine = (platform.system(), platform.machine())
    return sha256("\n".join((*names, *machine)).encode())


def _train(request: RunJob, inputs: Sequence[bytes], data: LocalData) -> JobOutput:
    arguments = schema.decode(TrainArguments, request.arguments)
    check_model(arguments.model)
    (base,) = _take(inputs, 1)
    seed = training_seed(request.job, request.assignment, request.worker)
    parameters = read_model(base, arguments.model)
    update = train_update(arguments.model, arguments.plan, parameters, data, seed)
    return JobOutput(write_parameters(update), len(data.y) * arguments.plan.epochs)


def _evaluate(request: RunJob, inputs: Sequence[bytes]) -> JobOutput:
    spec = schema.decode(EvaluateArguments, request.arguments).model
    check_model(spec)
    model, shard = _take(inputs, 2)
    rows = read_shard(shard, spec.layers[0], spec.layers[-1])
    score = evaluate(spec, read_model(model, spec), rows)
    return JobOutput(schema.encode(score), score.rows)


def _aggregate(request: RunJob, inputs: Sequence[bytes]) -> JobOutput:
    arguments = schema.decode(AggregateArguments, request.arguments)
    check_model(arguments.model)
    if len(inputs) < 2:
        raise Invalid("job_inputs", "an aggregation takes a base and at least one update")
    updates: list[Int32s] = []
    for number, blob in enumerate(inputs[1:]):
        update = read_update(blob, arguments.model, arguments.update_limit)
        if isinstance(update, Verdict):
            name = update.name.lower().replace("_", " ")
            raise Invalid(refusal_code(update), f"update {number} is {name}: leave it out")
        updates.append(update)
    model = aggregate_by(arguments.rule, read_model(inputs[0], arguments.model), updates)
    return JobOutput(write_parameters(model), len(updates))


def _take(inputs: Sequence[bytes], count: int) -> Sequence[bytes]:
    if len(inputs) != count:
        raise Invalid("job_inputs", f"{len(inputs)} inputs where this kind takes {count}")
    return inputs
