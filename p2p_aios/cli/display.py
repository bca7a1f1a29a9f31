"""Values for people, and for programs (`--json`): one JSON value a line."""

import json
import shutil
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum
from itertools import takewhile
from typing import Annotated, Any, Final, NewType, get_args, get_origin

from p2p_aios.cli.scales import PARAMETER_ONE, RATE_ONE, format_scaled
from p2p_aios.cli.session import current
from p2p_aios.codec import schema
from p2p_aios.codec.cid import format_cid
from p2p_aios.crypto.keys import format_address
from p2p_aios.types.learning import Score
from p2p_aios.units import format_amount

COLUMN_GAP: Final = "   "
INDENT: Final = "  "
_FORMS: Final[dict[str, Callable[[Any], str]]] = {
    "Amount": lambda units: f"{format_amount(units)} AIOS",
    "Address": format_address,
    "Cid": format_cid,
    "Millis": lambda ms: _duration(ms) if ms < 10**12 else _date(ms),
}
"""By the name of the annotated type."""
_SCALED: Final = {
    "learning_rate": RATE_ONE,
    "update_limit": PARAMETER_ONE,
}
"""By the name of the field: plain integers that mean something smaller."""


def emit(value: Any, annotation: Any = None) -> None:
    """Print one value: JSON, or its fields below each other."""
    if current().is_json:
        emit_json(schema.to_json(value, annotation))
    elif is_dataclass(value):
        _print_fields(list(_flatten(value)))
    else:
        print(text_of(value, annotation or type(value)))


def emit_fields(values: dict[str, Any]) -> None:
    """Print JSON-able values that are no dataclass."""
    if current().is_json:
        emit_json(values)
    else:
        _print_fields([(name, plain_text(value)) for name, value in values.items()])


def emit_table(entries: Sequence[Any], annotation: Any, columns: Sequence[str]) -> None:
    """Print a listing: a JSON array, or a table of these fields (`a.b` for nested ones)."""
    if current().is_json:
        emit_json(schema.to_json(entries, annotation))
        return
    rows = [dict(_flatten(entry)) for entry in entries]
    print_table(columns, [[row.get(column, "") for column in columns] for row in rows])


def emit_json(value: Any) -> None:
    """One JSON value on its own line, at once."""
    print(json.dumps(value, separators=(", ", ": ")), flush=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A plain table; rows one below the other where a terminal is too narrow for it.

    Ids and addresses are never cut or folded: people copy them.
    """
    if not rows:
        print("none")
        return
    titles = [_label(column.rpartition(".")[2]) for column in columns]
    widths = [max(map(len, cells)) for cells in zip(titles, *rows, strict=True)]
    whole = sum(widths) + len(COLUMN_GAP) * (len(widths) - 1)
    if sys.stdout.isatty() and whole > shutil.get_terminal_size().columns:
        for number, row in enumerate(rows):
            print(end="\n" if number else "")
            _print_fields(list(zip(titles, row, strict=True)))
        return
    for cells in (titles, *rows):
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        print(COLUMN_GAP.join(padded).rstrip())


def text_of(value: Any, annotation: Any) -> str:
    """A value by its annotated type: amounts in AIOS, addresses and CIDs as text."""
    if value is None:
        return "-"
    alias, bare = _unwrap(annotation)
    if alias in _FORMS:
        return _FORMS[alias](value)
    if isinstance(value, IntEnum):
        return value.name.lower()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        inner = get_args(bare)[0] if get_args(bare) else Any
        return ", ".join(text_of(item, inner) for item in value) or "none"
    if is_dataclass(value):
        named = " ".join(f"{name}={text}" for name, text in _flatten(value))
        return f"{type(value).__name__} {named}" if _is_choice(bare) else named
    return plain_text(value)


def plain_text(value: Any) -> str:
    """A JSON-able value, for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(plain_text, value)) or "none"
    return "-" if value is None else str(value)


def score_text(score: Score) -> str:
    """Accuracy of a model on a shard."""
    share = 100 * score.correct / max(1, score.rows)
    return f"{score.correct} of {score.rows} correct ({share:.1f} %)"


def _unwrap(annotation: Any) -> tuple[str, Any]:
    """Name of the outermost NewType, and what lies under aliases, Annotated and Optional."""
    alias = ""
    while True:
        if isinstance(annotation, NewType):
            alias, annotation = alias or annotation.__name__, annotation.__supertype__
        elif get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif get_origin(annotation) in (types.UnionType, typing.Union):
            present = [arg for arg in get_args(annotation) if arg is not type(None)]
            if len(present) != 1:
                return alias, annotation
            annotation = present[0]
        else:
            return alias, annotation


def _is_choice(bare: Any) -> bool:
    """Whether the value is one of several kinds, so that its kind must be told."""
    return get_origin(bare) in (types.UnionType, typing.Union)


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    hints = typing.get_type_hints(type(value), include_extras=True)
    for field in fields(value):
        item, name = getattr(value, field.name), prefix + field.name
        if isinstance(item, Score):
            yield name, score_text(item)
            mean = item.loss // max(1, item.rows)
            yield f"{name}.loss", f"{format_scaled(mean, PARAMETER_ONE)} a row"
        elif is_dataclass(item):
            if _is_choice(_unwrap(hints[field.name])[1]):
                yield name, type(item).__name__
            yield from _flatten(item, f"{name}.")
        elif isinstance(item, tuple) and _is_long(item):
            inner = get_args(_unwrap(hints[field.name])[1])[0]
            for number, each in enumerate(item):
                yield from _flatten_entry(each, inner, f"{name}.{number}")
        elif field.name in _SCALED and item is not None:
            yield name, format_scaled(item, _SCALED[field.name])
        else:
            yield name, text_of(item, hints[field.name])


def _flatten_entry(entry: Any, annotation: Any, name: str) -> Iterator[tuple[str, str]]:
    if not is_dataclass(entry):
        yield name, text_of(entry, annotation)
        return
    if _is_choice(_unwrap(annotation)[1]):
        yield name, type(entry).__name__
    yield from _flatten(entry, f"{name}.")


def _is_long(items: tuple[Any, ...]) -> bool:
    """Whether each gets a line of its own: values with fields, several ids or CIDs."""
    return any(map(is_dataclass, items)) or (len(items) > 1 and isinstance(items[0], bytes))


def _print_fields(pairs: Sequence[tuple[str, str]]) -> None:
    """One below the other; what belongs to `a`, as `a.b` does, indented below it."""
    rows: list[tuple[str, str]] = []
    above: list[str] = []
    for name, text in pairs:
        path = name.split(".")
        shared = takewhile(lambda pair: pair[0] == pair[1], zip(above, path, strict=False))
        for depth in range(sum(1 for _ in shared), len(path)):
            label = INDENT * depth + _label(path[depth])
            rows.append((label, text if depth == len(path) - 1 else ""))
        above = path
    width = max((len(label) for label, text in rows if text), default=0)
    for label, text in rows:
        print(f"{label:<{width}}  {text}".rstrip(), flush=True)


def _label(name: str) -> str:
    """A field's name in words; its unit stands beside the value."""
    return name.removeprefix("is_").removesuffix("_ms").replace("_", " ")


def _date(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")


def _duration(ms: int) -> str:
    if ms < 1000:
        return f"{ms} ms"
    return f"{ms / 1000:.1f} s" if ms < 60_000 else str(timedelta(seconds=ms // 1000))
