"""A mutable overlay of typed records over a reader of bytes, with nested savepoints."""

from typing import Any, Final, Protocol, TypeVar

from p2p_aios.errors import Corrupt
from p2p_aios.ledger.tables import Table

Record = TypeVar("Record")


class StateReader(Protocol):
    """The state before: LMDB's flat table, a parent block's overlay, a dict."""

    def get(self, key: bytes, /) -> bytes | None: ...


class _Absent:
    """Marks a key whose record this overlay does not know, where None means there is none."""


_ABSENT: Final = _Absent()


class State:
    """Reads through to `reader`, keeps writes; each record is decoded and encoded once."""

    __slots__ = ("_before", "_reader", "_records", "_undo", "_written")

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._before: dict[bytes, Any] = {}
        self._records: dict[bytes, Any] = {}
        self._written: dict[bytes, Table[Any]] = {}
        self._undo: list[tuple[bytes, Any]] = []

    def get(self, table: Table[Record], key: bytes = b"") -> Record | None:
        """The record at `key`, or None. Raises Corrupt(`state_corrupt`)."""
        full = table.prefix + key
        record = self._records.get(full, _ABSENT)
        if record is _ABSENT:
            data = self._before[full] = self._reader.get(full)
            record = self._records[full] = None if data is None else table.decode(data)
        return record  # type: ignore[no-any-return]

    def require(self, table: Table[Record], key: bytes = b"") -> Record:
        """The record at `key`, which every state has. Raises Corrupt(`state_missing`)."""
        record = self.get(table, key)
        if record is None:
            raise Corrupt("state_missing", f"no record at {(table.prefix + key).hex()}")
        return record

    def put(self, table: Table[Record], key: bytes, record: Record | None) -> None:
        """Write `record` at `key`; None deletes."""
        full = table.prefix + key
        self._undo.append((full, self._records.get(full, _ABSENT)))
        self._records[full] = record
        self._written[full] = table

    def savepoint(self) -> int:
        """A mark for `rollback`; marks nest."""
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        """Forget every write made since `mark` was taken."""
        while len(self._undo) > mark:
            full, record = self._undo.pop()
            self._records[full] = record

    def writes(self) -> dict[bytes, bytes | None]:
        """Full key to new value, None to delete; keys whose value stays the same are left out."""
        changed: dict[bytes, bytes | None] = {}
        for full, table in self._written.items():
            record = self._records[full]
            if record is _ABSENT:
                continue
            value = None if record is None else table.encode(record)
            before = self._before.get(full, _ABSENT)
            if value != (self._reader.get(full) if before is _ABSENT else before):
                changed[full] = value
        return changed
