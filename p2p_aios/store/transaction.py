"""Transactions on an LMDB environment: what a reader sees, what a writer may do.

Whatever LMDB raises leaves as one of our own faults, but for the map being full: `lmdb.Environment`
lets the map grow then and writes again.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final, Self

import lmdb

from p2p_aios.errors import Corrupt, Unavailable, invariant

KEY_BYTES_MAX: Final = 511
"""LMDB's longest key."""

Pair = tuple[bytes, bytes]


class Reader:
    """A read transaction."""

    __slots__ = ("_done", "_tables", "_txn")

    def __init__(self, tables: dict[str, Any], txn: Any, done: Callable[[], None]) -> None:
        """For `Environment` only."""
        self._tables = tables
        self._txn = txn
        self._done = done

    def get(self, table: str, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._txn.get(key, None, self._tables[table])
        except lmdb.Error as error:
            raise fault(error) from error
        return value

    def items(self, table: str, first: bytes = b"", prefix: bytes = b"") -> Iterator[Pair]:
        """Ascending from key `first`, or from `prefix`, for as long as keys begin with `prefix`.

        Read it while the transaction is open; a writer must not change the table meanwhile.
        """
        with _told(), self._txn.cursor(self._tables[table]) as cursor:
            start = max(first, prefix)
            found = cursor.set_range(start) if start else cursor.first()
            if not found:
                return
            for key, value in cursor.iternext():
                if not key.startswith(prefix):
                    return
                yield key, value

    def last(self, table: str) -> Pair | None:
        """The pair with the greatest key."""
        with _told(), self._txn.cursor(self._tables[table]) as cursor:
            return cursor.item() if cursor.last() else None

    def count(self, table: str) -> int:
        return int(self._stat(table)["entries"])

    def page_bytes(self, table: str) -> int:
        """Bytes of the pages that the table fills."""
        stat = self._stat(table)
        pages = stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        return int(pages * stat["psize"])

    def _stat(self, table: str) -> dict[str, int]:
        with _told():
            stat: dict[str, int] = self._txn.stat(self._tables[table])
        return stat

    def close(self) -> None:
        """End the transaction; may be repeated."""
        if self._txn is not None:
            self._txn.abort()
            self._txn = None
            self._done()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Writer(Reader):
    """A write transaction, for the time of `Environment.write`'s call."""

    __slots__ = ()

    def put(self, table: str, key: bytes, value: bytes) -> None:
        invariant(0 < len(key) <= KEY_BYTES_MAX, f"a key has 1 to {KEY_BYTES_MAX} bytes")
        self._txn.put(key, value, db=self._tables[table])

    def append(self, table: str, key: bytes, value: bytes) -> None:
        """Put a pair whose key lies past the table's last: pages fill up, which `put` leaves half
        empty where only two pairs fit into one."""
        is_last = self._txn.put(key, value, append=True, db=self._tables[table])
        invariant(is_last, "an appended key lies past the table's last")

    def delete(self, table: str, key: bytes) -> bool:
        """Whether there was something to delete."""
        return bool(self._txn.delete(key, db=self._tables[table]))

    def delete_each(self, table: str, keys: Iterable[bytes]) -> int:
        """How many of the keys there were to delete."""
        handle, delete = self._tables[table], self._txn.delete
        return sum([delete(key, b"", handle) for key in keys])

    def put_ascending(self, table: str, pairs: Iterable[Pair]) -> None:
        """Put pairs whose keys ascend; where they lie past the table's last, pages fill up."""
        pairs = list(pairs)
        if not pairs:
            return
        last = self.last(table)
        appends = last is None or last[0] < pairs[0][0]
        with self._txn.cursor(self._tables[table]) as cursor:
            consumed, _ = cursor.putmulti(pairs, append=appends)
        invariant(consumed == len(pairs), "every pair is put")


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except lmdb.Error as error:
        raise fault(error) from error


_DAMAGE: Final = (
    lmdb.BadChecksumError,
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.PageNotFoundError,
    lmdb.PanicError,
    lmdb.VersionMismatchError,
)


def fault(error: Exception) -> Corrupt | Unavailable:
    if isinstance(error, _DAMAGE):
        return Corrupt("store_damaged", f"the database is damaged: {error}")
    return Unavailable("store_failed", f"the database cannot be used: {error}")
