"""Until which height each blob must stay: a small SQLite table, durable at every change."""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from p2p_aios.errors import Corrupt, Unavailable
from p2p_aios.units import Cid, Height

KEEP: Final = Height(2**63 - 1)
"""A pin that never runs out."""


class Pins:
    """CID to the last height at which the blob must be held. Used by one thread at a time.

    Whatever changes or reads them raises Unavailable(`storage_failed`) where the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        """Raises Corrupt(`pins_corrupt`)."""
        try:
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS pins (cid BLOB PRIMARY KEY, until INTEGER NOT NULL)"
                " WITHOUT ROWID"
            )
            (verdict,) = self._database.execute("PRAGMA quick_check").fetchone()
        except sqlite3.DatabaseError as error:
            raise Corrupt("pins_corrupt", f"{path} cannot be read: {error}") from None
        if verdict != "ok":
            raise Corrupt("pins_corrupt", f"{path} is damaged: {verdict}")

    def extend(self, cids: Iterable[Cid], until: Height) -> None:
        """Pin all of them at least until then; all or none after a crash."""
        self._change(
            "INSERT INTO pins VALUES (?, ?)"
            " ON CONFLICT (cid) DO UPDATE SET until = max(until, excluded.until)",
            [(cid, min(until, KEEP)) for cid in cids],
        )

    def until(self, cid: Cid) -> Height | None:
        rows = self._read("SELECT until FROM pins WHERE cid = ?", (cid,))
        return Height(rows[0][0]) if rows else None

    def run_out(self, height: Height) -> list[Cid]:
        """Those whose last height has passed."""
        rows = self._read("SELECT cid FROM pins WHERE until < ?", (min(height, KEEP),))
        return [Cid(cid) for (cid,) in rows]

    def drop(self, cids: Iterable[Cid]) -> None:
        self._change("DELETE FROM pins WHERE cid = ?", [(cid,) for cid in cids])

    def _read(self, question: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        try:
            return self._database.execute(question, values).fetchall()
        except sqlite3.Error as error:
            raise _failed(error) from error

    def _change(self, statement: str, rows: Sequence[Sequence[object]]) -> None:
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany(statement, rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            # A transaction left open would refuse every later one.
            if self._database.in_transaction:
                self._database.rollback()
            raise _failed(error) from error

    def close(self) -> None:
        self._database.close()


def _failed(error: sqlite3.Error) -> Unavailable:
    return Unavailable("storage_failed", f"the disk refused a pin: {error}")
