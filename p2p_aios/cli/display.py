"""Values for people, and for programs (`--json`): one JSON value a line."""

import json
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Annotated, Any, Final, NewType, get_args, get_origin

from p2p_aios.cli.session import current
from p2p_aios.codec import schema
from p2p_aios.codec.cid import format_cid
from p2p_aios.crypto.keys import format_address
from p2p_aios.units import format_amount

_FORMS: Final[dict[str, Callable[[Any], str]]] = {
    "Amount": lambda units: f"{format_amount(units)} AIOS",
    "Address": format_address,
    "Cid": format_cid,
    "Millis": lambda ms: f"{ms} ms" if ms < 10**12 else _date(ms),
}


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
        _print_fields([(name, _plain(value)) for name, value in values.items()])


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
    """A plain table, aligned; readable through a pipe too."""
    if not rows:
        print("none")
        return
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column.rpartition(".")[2].replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    console = Console(highlight=False)
    # Through a pipe nobody sees the edge: ids must stay whole.
    console.print(table, width=None if console.is_terminal else 1000)


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
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        inner = get_args(bare)[0] if get_args(bare) else Any
        return ", ".join(text_of(item, inner) for item in value) or "none"
    if is_dataclass(value):
        return " ".join(f"{name}={text}" for name, text in _flatten(value))
    return str(value)


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


def _flatten(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    hints = typing.get_type_hints(type(value), include_extras=True)
    for field in fields(value):
        item, name = getattr(value, field.name), prefix + field.name
        if is_dataclass(item):
            yield from _flatten(item, f"{name}.")
        else:
            yield name, text_of(item, hints[field.name])


def _print_fields(pairs: Sequence[tuple[str, str]]) -> None:
    width = max((len(name) for name, _ in pairs), default=0)
    for name, text in pairs:
        print(f"{name.replace('_', ' '):<{width}}  {text}")


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def _date(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(sep=" ", timespec="milliseconds")
