"""A mutable overlay of typed records over a reader of bytes, with nested savepoints."""

from typing import Any, Final, Protocol, TypeVar

from p2p_aios.errors import Corrupt
from p2p_aios.ledger.tables import TABLES, Table

Record = TypeVar("Record")


class StateReader(Protocol):
    """The state before: LMDB's flat table, a parent block's overlay, a dict."""

    def get(self, key: bytes, /) -> bytes | None: ...


class _Absent:
    """Marks a key this overlay has not written, where None means deleted."""


_ABSENT: Final = _Absent()


class State:
    """Reads through to `reader`, keeps writes; each record is decoded and encoded once."""

    __slots__ = ("_read", "_reader", "_undo", "_written")

    def __init__(self, reader: StateReader) -> None:
        self._reader = reader
        self._read: dict[bytes, Any] = {}
        self._written: dict[bytes, Any] = {}
        self._undo: list[tuple[bytes, Any]] = []

    def get(self, table: Table[Record], key: bytes = b"") -> Record | None:
        """The record at `key`, or None. Raises Corrupt(`state_corrupt`)."""
        full = table.prefix + key
        written = self._written.get(full, _ABSENT)
        if written is not _ABSENT:
            return written  # type: ignore[no-any-return]
        if full in self._read:
            return self._read[full]  # type: ignore[no-any-return]
        data = self._reader.get(full)
        record = None if data is None else table.decode(data)
        self._read[full] = record
        return record

    def require(self, table: Table[Record], key: bytes = b"") -> Record:
        """The record at `key`, which every state has. Raises Corrupt(`state_missing`)."""
        record = self.get(table, key)
        if record is None:
            raise Corrupt("state_missing", f"no record at {(table.prefix + key).hex()}")
        return record

    def put(self, table: Table[Record], key: bytes, record: Record) -> None:
        self._write(table.prefix + key, record)

    def delete(self, table: Table[Record], key: bytes) -> None:
        self._write(table.prefix + key, None)

    def savepoint(self) -> int:
        """A mark for `rollback`; marks nest."""
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        """Forget every write made since `mark` was taken."""
        while len(self._undo) > mark:
            full, before = self._undo.pop()
            if before is _ABSENT:
                del self._written[full]
            else:
                self._written[full] = before

    def writes(self) -> dict[bytes, bytes | None]:
        """Full key to new value, None to delete; keys whose value stays the same are left out."""
        changed: dict[bytes, bytes | None] = {}
        for full, record in self._written.items():
            value = None if record is None else TABLES[full[:1]].encode(record)
            if value != self._reader.get(full):
                changed[full] = value
        return changed

    def _write(self, full: bytes, record: Any) -> None:
        self._undo.append((full, self._written.get(full, _ABSENT)))
        self._written[full] = record
