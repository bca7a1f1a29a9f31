"""Until which height each blob must stay: a small SQLite table, durable at every change."""

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from p2p_aios.errors import Corrupt
from p2p_aios.units import Cid, Height

KEEP: Final = Height(2**63 - 1)
"""A pin that never runs out."""


class Pins:
    """CID to the last height at which the blob must be held. Used by one thread at a time."""

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
        rows = [(cid, min(until, KEEP)) for cid in cids]
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany(
            "INSERT INTO pins VALUES (?, ?)"
            " ON CONFLICT (cid) DO UPDATE SET until = max(until, excluded.until)",
            rows,
        )
        self._database.execute("COMMIT")

    def until(self, cid: Cid) -> Height | None:
        row = self._database.execute("SELECT until FROM pins WHERE cid = ?", (cid,)).fetchone()
        return None if row is None else Height(row[0])

    def run_out(self, height: Height) -> list[Cid]:
        """Those whose last height has passed."""
        rows = self._database.execute("SELECT cid FROM pins WHERE until < ?", (min(height, KEEP),))
        return [Cid(cid) for (cid,) in rows]

    def drop(self, cids: Iterable[Cid]) -> None:
        self._database.execute("BEGIN IMMEDIATE")
        self._database.executemany("DELETE FROM pins WHERE cid = ?", [(cid,) for cid in cids])
        self._database.execute("COMMIT")

    def close(self) -> None:
        self._database.close()
