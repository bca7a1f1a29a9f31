"""A learning task as people write it: TOML or JSON, amounts in AIOS, rates as decimals."""

import json
import tomllib
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of, format_cid
from p2p_aios.errors import Invalid
from p2p_aios.types.learning import SubmitTask
from p2p_aios.units import FIXED_ONE, parse_amount

FRACTION_BITS: Final = 24
BLOB_BYTES_MAX: Final = 64 << 20
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
_BLOBS: Final = ("base", "test_shard")


@dataclass(frozen=True, slots=True)
class TaskDraft:
    task: SubmitTask
    uploads: tuple[bytes, ...]
    """Blobs that the file named by path; the node must have them before the task."""


def read_task(file: Path) -> TaskDraft:
    """The task in `file`.

    Raises Invalid: `task_file_unreadable`, `task_malformed`, `amount_malformed`.
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


def build_task(document: dict[str, Any], folder: Path) -> TaskDraft:
    """The task that `document` describes; blobs named by path lie in `folder`."""
    values = {**DEFAULTS, **document}
    uploads = []
    for name in _BLOBS:
        if f"{name}_file" in values:
            blob = _read_blob(folder / str(values.pop(f"{name}_file")))
            uploads.append(blob)
            values[name] = format_cid(cid_of(blob))
    names = [field.name for field in fields(SubmitTask)]
    missing = [name for name in names if name not in values]
    unknown = [name for name in values if name not in names]
    if missing or unknown:
        fault = f"missing {missing[0]!r}" if missing else f"unknown {unknown[0]!r}"
        raise Invalid("task_malformed", f"{fault}; see `aios learn submit --help`")
    in_units = _in_units(values)
    try:
        task = schema.from_json(SubmitTask, in_units)
    except Invalid as fault:
        raise Invalid("task_malformed", fault.message) from None
    return TaskDraft(task, tuple(uploads))


def _in_units(values: dict[str, Any]) -> dict[str, Any]:
    units = dict(values)
    for name in ("budget", "bond"):
        units[name] = str(parse_amount(str(values[name])))
    units["update_limit"] = _scaled(values["update_limit"], 1 << FRACTION_BITS, "update_limit")
    if isinstance(values["plan"], dict) and "learning_rate" in values["plan"]:
        rate = _scaled(values["plan"]["learning_rate"], FIXED_ONE, "plan.learning_rate")
        units["plan"] = {**values["plan"], "learning_rate": rate}
    return units


def _scaled(value: Any, one: int, name: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or not _is_finite(value):
        raise Invalid("task_malformed", f"{name} is a number, e.g. 0.1")
    return int(value * one)


def _is_finite(value: int | Decimal) -> bool:
    return isinstance(value, int) or value.is_finite()


def _read_blob(file: Path) -> bytes:
    try:
        if file.stat().st_size > BLOB_BYTES_MAX:
            raise Invalid("task_malformed", f"{file} is larger than 64 MiB")
        return file.read_bytes()
    except OSError as error:
        raise Invalid("task_file_unreadable", f"cannot read {file}: {error}") from None
