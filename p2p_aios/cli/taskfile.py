"""A learning task as people write it: TOML or JSON, amounts in AIOS, rates as decimals."""

import json
import tomllib
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from p2p_aios.cli.blobfile import read_blob_file
from p2p_aios.cli.modeloptions import check_fits
from p2p_aios.cli.scales import PARAMETER_ONE, RATE_ONE, to_scaled
from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of, format_cid
from p2p_aios.errors import Invalid
from p2p_aios.types.learning import SubmitTask
from p2p_aios.units import parse_amount

DEFAULTS: Final[dict[str, Any]] = {
    "rule": "mean",
    "update_limit": 8,
    "seats": 16,
    "updates_min": 1,
    "commit_blocks": 60,
    "reveal_blocks": 20,
    "attest_blocks": 40,
    "bond": "1",
}
_EXAMPLE: Final = """\
# A learning task, for `aios learn submit`. Amounts are in AIOS; blocks come twice a second.

rounds = 20
budget = "1000"               # escrowed now; each round's share goes to its accepted updates
base_file = "base.bin"        # made by `aios learn base`; or: base = "bafk..."
test_shard_file = "test.bin"  # made by `aios learn shard`; or: test_shard = "bafk..."

# These may be left out: they are the defaults.
rule = "{rule}"                 # how updates become the next model
seats = {seats}                    # most contributors drawn for a round
updates_min = {updates_min}               # fewer accepted updates than this void the round
update_limit = {update_limit}              # no update may change a parameter by more
bond = "{bond}"                    # put up by each contributor; a refused update loses it
commit_blocks = {commit_blocks}            # most blocks to train in; all phases end once all acted
reveal_blocks = {reveal_blocks}            # most blocks to hand in what was committed
attest_blocks = {attest_blocks}            # most blocks for validators to recompute the round

[model]
kind = "mlp"                  # or "linear", with two layers: inputs and outputs
layers = [64, 64, 10]
activation = "relu"           # or "sigmoid"

[plan]                        # what each contributor does in a round, on its own rows
epochs = 4
batch = 16                    # rows a step
learning_rate = 0.05
"""
_BLOBS: Final = ("base", "test_shard")


@dataclass(frozen=True, slots=True)
class TaskDraft:
    task: SubmitTask
    uploads: tuple[bytes, ...]
    """Blobs that the file named by path; the node must have them before the task."""


def read_task(file: Path) -> TaskDraft:
    """The task in `file`.

    Raises Invalid: `task_file_unreadable`, `task_malformed`, `amount_malformed`,
    `number_malformed`, `model_misshapen`, and as `read_blob_file`.
    """
    try:
        text = file.read_text("utf-8")
        is_json = file.suffix == ".json"
        document = (
            json.loads(text, parse_float=Decimal)
            if is_json
            else tomllib.loads(text, parse_float=Decimal)
        )
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("task_file_unreadable", f"cannot read {file}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise Invalid("task_malformed", f"{file}: {error}") from None
    if not isinstance(document, dict):
        raise Invalid("task_malformed", f"{file} holds no table of fields")
    return build_task(document, file.parent)


def example_task() -> str:
    """A task with every field, its comments, and the defaults as they are."""
    return _EXAMPLE.format(**DEFAULTS)


def build_task(document: dict[str, Any], folder: Path) -> TaskDraft:
    """The task that `document` describes; blobs named by path lie in `folder`."""
    values = {**DEFAULTS, **document}
    uploads = []
    for name in _BLOBS:
        if f"{name}_file" in values:
            blob = read_blob_file(folder / str(values.pop(f"{name}_file")))
            uploads.append(blob)
            values[name] = format_cid(cid_of(blob))
    names = [field.name for field in fields(SubmitTask)]
    missing = [name for name in names if name not in values]
    unknown = [name for name in values if name not in names]
    if missing or unknown:
        fault = f"missing {missing[0]!r}" if missing else f"unknown {unknown[0]!r}"
        raise Invalid("task_malformed", f"{fault}; `aios learn example` shows a whole task")
    in_units = _in_units(values)
    try:
        task = schema.from_json(SubmitTask, in_units)
    except Invalid as fault:
        raise Invalid("task_malformed", fault.message) from None
    for blob in uploads:
        if cid_of(blob) == task.base:
            check_fits(blob, task.model, "the base")
    return TaskDraft(task, tuple(uploads))


def _in_units(values: dict[str, Any]) -> dict[str, Any]:
    units = dict(values)
    for name in ("budget", "bond"):
        units[name] = str(parse_amount(str(values[name])))
    units["update_limit"] = to_scaled(values["update_limit"], PARAMETER_ONE, "update_limit")
    if isinstance(values["plan"], dict) and "learning_rate" in values["plan"]:
        rate = to_scaled(values["plan"]["learning_rate"], RATE_ONE, "plan.learning_rate")
        units["plan"] = {**values["plan"], "learning_rate": rate}
    return units
