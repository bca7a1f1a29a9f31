"""One LMDB environment: named tables, whole write transactions, short-lived readers.

LMDB is a memory-mapped B+ tree with one writer and any number of readers that never wait for it.
Rules kept here so that nobody else needs to know them:

- a write transaction begins and ends inside one call of `write`;
- the map grows on demand, between transactions and when no reader is open (`gate`), because growing
  invalidates every open transaction;
- readers are short-lived: an open one keeps the pages it sees from being reused;
- one process owns a folder, by a lock that dies with it;
- a damaged or foreign file is refused before LMDB walks into it: a truncated one would kill the
  process with SIGBUS.
"""

import fcntl
import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeVar

import lmdb
from lmdb.verify import VerifyError
from lmdb.verify import verify as verify_pages

from p2p_aios.codec import cbor
from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.store.gate import ReaderGate
from p2p_aios.store.transaction import Reader, Writer, fault

MAP_BYTES_FIRST: Final = 1 << 30
"""Map of a new environment; address space, not disk. An older one gets room to double."""
MAP_BYTES_MAX: Final = 1 << 42
READERS_MAX: Final = 126
GROW_WAIT_S_MAX: Final = 30.0
"""How long a writer waits for readers to finish before the map may grow."""
DATA_FILE: Final = "data.mdb"
_ABOUT: Final = b"about"
"""Table of the format record."""
_FORMAT: Final = b"format"

T = TypeVar("T")


class Environment:
    """A folder with one LMDB environment in it, owned by this process."""

    def __init__(self, folder: Path, env: Any, lock: int) -> None:
        """For `open_environment` only."""
        self.folder = folder
        self._env = env
        self._lock = lock
        self._tables: dict[str, Any] = {}
        self._write_lock = threading.Lock()
        self._gate = ReaderGate()

    def read(self) -> Reader:
        """A consistent view as of now; use it as a context manager and leave soon.

        Raises Unavailable(`store_failed`), Corrupt(`store_damaged`), as all its methods do.
        """
        self._gate.enter()
        try:
            return Reader(self._tables, self._env.begin(), self._gate.leave)
        except lmdb.Error as error:
            self._gate.leave()
            raise fault(error) from error

    def write(self, change: Callable[[Writer], T]) -> T:
        """Run `change` in one transaction: all of it is on disk when this returns, or none.

        `change` may run again after the map has grown, so it must do nothing but write. It must
        not open another transaction, and its caller must hold no reader.
        Raises Unavailable(`store_full`, `store_busy`, `store_failed`), Corrupt(`store_damaged`).
        """
        with self._write_lock:
            while True:
                try:
                    with self._env.begin(write=True) as txn:
                        return change(Writer(self._tables, txn, _nothing))
                except lmdb.MapFullError:
                    self._grow()
                except lmdb.Error as error:
                    raise fault(error) from error

    def _grow(self) -> None:
        size = self._env.info()["map_size"] * 2
        if size > MAP_BYTES_MAX:
            raise Unavailable("store_full", f"{self.folder} has reached {MAP_BYTES_MAX} bytes")
        try:
            grew = self._gate.run_alone(lambda: self._env.set_mapsize(size), GROW_WAIT_S_MAX)
        except lmdb.Error as error:
            raise fault(error) from error
        if not grew:
            raise Unavailable("store_busy", "readers are open, so the map cannot grow")

    def sync(self) -> None:
        """Flush to disk; needed only where the environment was opened with sync=False."""
        self._env.sync(True)

    def file_bytes(self) -> int:
        """Bytes of the file that are in use or were: it does not shrink (see `compact`)."""
        return int((self._env.info()["last_pgno"] + 1) * self._env.stat()["psize"])

    def map_bytes(self) -> int:
        return int(self._env.info()["map_size"])

    def copy(self, folder: Path) -> None:
        """Write a copy without unused pages into an existing folder, durably.

        Raises as `write`.
        """
        try:
            self._env.copy(os.fspath(folder), compact=True)
        except lmdb.Error as error:
            raise fault(error) from error
        flush_path(folder / DATA_FILE)
        flush_path(folder)

    def close_and_adopt(self, folder: Path) -> None:
        """Close, and put the data file of `folder` in the place of ours at one stroke.

        The folder stays ours until that is done. Raises Unavailable(`store_failed`).
        """
        self._env.close()
        try:
            os.replace(folder / DATA_FILE, self.folder / DATA_FILE)
            flush_path(self.folder)
        except OSError as error:
            raise Unavailable("store_failed", f"cannot replace the file: {error}") from None
        finally:
            os.close(self._lock)
            self._lock = -1

    def close(self) -> None:
        """Release files and lock; no reader or writer may be active."""
        if self._lock >= 0:
            self._env.close()
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self, kind: str, version: int, tables: Sequence[str]) -> None:
        """Check or write the format record, then open the tables. For `open_environment` only."""
        record = cbor.encode((kind, version))
        is_new = self._env.stat()["entries"] == 0
        with self._env.begin(write=True) as txn:
            about = self._env.open_db(_ABOUT, txn=txn, create=is_new)
            if is_new:
                txn.put(_FORMAT, record, db=about)
            found = txn.get(_FORMAT, db=about)
            if found != record:
                raise Corrupt(
                    "store_foreign",
                    f"{self.folder} holds {_describe(found)}, not {kind} version {version}",
                )
            for table in tables:
                self._tables[table] = self._env.open_db(table.encode(), txn=txn)


def open_environment(
    folder: Path,
    kind: str,
    version: int,
    tables: Sequence[str],
    *,
    sync: bool = True,
    map_bytes: int = MAP_BYTES_FIRST,
) -> Environment:
    """Open, or create, the environment in `folder`, whose format is `kind` and `version`.

    With sync=False a commit survives the death of the process, but not of the machine.
    Raises Unavailable(`store_locked`, `store_failed`), Corrupt(`store_foreign`, `store_damaged`).
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _own(folder)
        try:
            return _open_owned(folder, lock, kind, version, tables, sync, map_bytes)
        except BaseException:
            os.close(lock)
            raise
    except lmdb.NotFoundError as error:
        raise Corrupt("store_foreign", f"{folder} is another program's database") from error
    except lmdb.Error as error:
        raise fault(error) from error
    except OSError as error:
        raise Unavailable("store_failed", f"{folder} cannot be used: {error.strerror}") from None


def _open_owned(
    folder: Path,
    lock: int,
    kind: str,
    version: int,
    tables: Sequence[str],
    sync: bool,
    map_bytes: int,
) -> Environment:
    data = folder / DATA_FILE
    found_bytes = data.stat().st_size if data.exists() else 0
    env = lmdb.open(
        os.fspath(folder),
        map_size=max(map_bytes, min(2 * found_bytes, MAP_BYTES_MAX)),
        max_dbs=len(tables) + 1,
        max_readers=READERS_MAX,
        max_spare_txns=1,
        sync=sync,
        mode=0o700,
    )
    try:
        _refuse_truncated(folder, env)
        environment = Environment(folder, env, lock)
        environment.prepare(kind, version, tables)
        flush_path(folder)
    except BaseException:
        env.close()
        raise
    return environment


def flush_path(path: Path) -> None:
    """Make a file's content, or a folder's list of files, durable."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _own(folder: Path) -> int:
    """Take the folder's lock, which ends with this process; its file descriptor."""
    lock = os.open(folder / "owner.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise Unavailable("store_locked", f"{folder} is in use by another process") from None
    return lock


def _refuse_truncated(folder: Path, env: Any) -> None:
    # Pages past the end of the file may be unused, which only a walk over all pages can tell; it
    # is slow, so it is done only where some are missing.
    expected = (env.info()["last_pgno"] + 1) * env.stat()["psize"]
    if (folder / DATA_FILE).stat().st_size >= expected:
        return
    try:
        findings = verify_pages(os.fspath(folder))
    except VerifyError as error:
        findings = [str(error)]
    if findings:
        raise Corrupt("store_damaged", f"{folder} is damaged: {findings[0]}")


def _describe(record: bytes | None) -> str:
    try:
        kind, version = cbor.decode(record or b"")
        return f"{kind} version {version}"
    except (Invalid, TypeError, ValueError):
        return "something else"


def _nothing() -> None:
    pass
