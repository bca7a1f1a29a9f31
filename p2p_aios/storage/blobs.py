"""Content-addressed blobs: files named by CID, written whole or not at all, checked when read.

    <root>/blobs/<last byte>/<cid>    the blobs; the last byte of the digest spreads them evenly
    <root>/incoming/                  unfinished writes; emptied when the store opens
    <root>/quarantine/                files that no longer hold what their name says
    <root>/pins.sqlite                until when each must stay

A blob stays until it is removed, or until a pin set on it has run out (`pins.KEEP` never does). A
pin given to `put` is durable before the file appears, so a crash leaves nothing uncollected.

Synchronous, and safe to call from several threads: run it in worker threads.
"""

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

from p2p_aios.codec.cid import RAW, cid_of, format_cid, is_cid, matches
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.storage.pins import Pins
from p2p_aios.types.request import BLOB_BYTES_MAX, CHUNK_BYTES_MAX
from p2p_aios.units import Cid, Height

QUOTA_BYTES: Final = 16 << 30
"""Default bound on all blobs together."""
QUARANTINE_MAX: Final = 16
"""Most damaged files kept for inspection."""
CHECKED_MAX: Final = 4096
"""Most files remembered as read and found whole."""
_READ_BYTES: Final = 1 << 20

_log = logging.getLogger(__name__)


class BlobStore:
    """Blobs under one folder; one process at a time."""

    def __init__(
        self, root: Path, quota_bytes: int = QUOTA_BYTES, blob_bytes_max: int = BLOB_BYTES_MAX
    ) -> None:
        """Open or create. Raises Corrupt(`pins_corrupt`)."""
        self._blobs, self._incoming = root / "blobs", root / "incoming"
        self._quarantine = root / "quarantine"
        for folder in (self._blobs, self._incoming, self._quarantine):
            folder.mkdir(parents=True, exist_ok=True)
        for unfinished in self._incoming.iterdir():
            unfinished.unlink()
        self._pins = Pins(root / "pins.sqlite")
        self.quota_bytes, self._blob_bytes_max = quota_bytes, blob_bytes_max
        self._lock = threading.Lock()
        self._sizes = dict(self._scan())
        self._bytes = sum(self._sizes.values())
        self._checked: dict[Cid, tuple[int, int]] = {}
        self._writes = count()
        self.damaged_count = 0
        """Files found damaged since the store opened."""

    def close(self) -> None:
        self._pins.close()

    @property
    def bytes_held(self) -> int:
        """Sum of all blobs, and of those being written."""
        return self._bytes

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[Cid]:
        """CIDs held when the iteration began, ascending."""
        with self._lock:
            return iter(sorted(self._sizes))

    def has(self, cid: Cid) -> bool:
        return cid in self._sizes

    def size(self, cid: Cid) -> int | None:
        """Bytes of a blob; None where it is absent."""
        return self._sizes.get(cid)

    def put(
        self,
        data: bytes,
        *,
        codec: int = RAW,
        expected: Cid | None = None,
        until: Height | None = None,
    ) -> Cid:
        """Store `data` durably, pinned until a height if one is given.

        Raises Invalid: `blob_too_large`, `blob_mismatch` (not what `expected` names);
        Unavailable: `storage_full`, `storage_failed`.
        """
        if len(data) > self._blob_bytes_max:
            raise Invalid(
                "blob_too_large",
                f"{len(data)} bytes; cut it into pieces of at most {self._blob_bytes_max}",
            )
        if expected is not None and not matches(expected, data):
            raise Invalid("blob_mismatch", f"these bytes are not {format_cid(expected)}")
        cid = expected if expected is not None else cid_of(data, codec)
        with self._lock:
            is_new = cid not in self._sizes
            if is_new and self._bytes + len(data) > self.quota_bytes:
                raise Unavailable(
                    "storage_full",
                    f"{self._bytes} of {self.quota_bytes} bytes are used; remove blobs or raise "
                    "the quota",
                )
            if until is not None:
                self._pins.extend([cid], until)
            self._bytes += len(data) if is_new else 0
        if is_new:
            self._write(cid, data)
        return cid

    def get(self, cid: Cid) -> bytes | None:
        """The whole blob; None where it is absent or its file is damaged.

        Raises Unavailable(`storage_failed`).
        """
        try:
            with _disk("read a blob"):
                data = self._path(cid).read_bytes()
        except FileNotFoundError:
            self._note_absence(cid)
            return None
        if not matches(cid, data):
            self._set_aside(cid)
            return None
        return data

    def read(self, cid: Cid, offset: int, bytes_max: int = CHUNK_BYTES_MAX) -> bytes | None:
        """Bytes from `offset`, empty at the end; None as for `get`.

        The whole file is checked before the first of its bytes is given out.
        Raises Unavailable(`storage_failed`).
        """
        try:
            with _disk("read a blob"), self._path(cid).open("rb") as file:
                if self._is_whole(cid, file.fileno()):
                    file.seek(offset)
                    return file.read(bytes_max)
        except FileNotFoundError:
            self._note_absence(cid)
            return None
        self._set_aside(cid)
        return None

    def pin(self, cid: Cid, until: Height) -> None:
        """Hold it at least until then, whether it is here yet or still to come."""
        self.pin_all([cid], until)

    def pin_all(self, cids: Iterable[Cid], until: Height) -> None:
        """`pin` for several at the cost of one: all or none of them after a crash."""
        with self._lock:
            self._pins.extend(cids, until)

    def pinned_until(self, cid: Cid) -> Height | None:
        with self._lock:
            return self._pins.until(cid)

    def remove(self, cid: Cid) -> bool:
        """Drop a blob and its pin; returns whether it was here. Raises Unavailable as `collect`."""
        return bool(self._drop(lambda: [cid]))

    def collect(self, height: Height) -> tuple[Cid, ...]:
        """Drop every blob whose pin ran out before `height`; returns those that were here.

        Raises Unavailable(`storage_failed`): whatever is left is dropped the next time.
        """
        return self._drop(lambda: self._pins.run_out(height))

    def _drop(self, choose: Callable[[], list[Cid]]) -> tuple[Cid, ...]:
        # Under the lock from the choice to the end: a blob that is put again meanwhile must stay.
        with self._lock:
            chosen = choose()
            here = tuple(cid for cid in chosen if cid in self._sizes)
            # Files first: after a crash in between, the pins that are left drop nothing once more.
            with _disk("remove a blob"):
                for cid in chosen:
                    self._path(cid).unlink(missing_ok=True)
                    self._forget(cid)
            self._pins.drop(chosen)
        return here

    def _path(self, cid: Cid) -> Path:
        return self._blobs / f"{cid[-1]:02x}" / cid.hex()

    def _scan(self) -> Iterator[tuple[Cid, int]]:
        for shard in sorted(filter(Path.is_dir, self._blobs.iterdir())):
            for file in sorted(shard.iterdir()):
                cid = _cid_of_name(file.name)
                if cid is not None:
                    yield cid, file.stat().st_size

    def _write(self, cid: Cid, data: bytes) -> None:
        path, draft = self._path(cid), self._incoming / f"{next(self._writes)}-{cid.hex()}"
        try:
            with draft.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            if not path.parent.is_dir():
                path.parent.mkdir(exist_ok=True)
                _sync_folder(self._blobs)
            draft.rename(path)
            _sync_folder(path.parent)
        except OSError as error:
            with self._lock:
                self._bytes -= len(data)
            with suppress(OSError):
                draft.unlink(missing_ok=True)
            raise Unavailable("storage_failed", f"the disk refused a blob: {error}") from error
        with self._lock:
            # Another thread may have written the same blob meanwhile, and counted it.
            self._bytes -= self._sizes.get(cid, 0)
            self._sizes[cid] = len(data)

    def _is_whole(self, cid: Cid, descriptor: int) -> bool:
        """Whether the file holds what its name says; read once as long as it does not change."""
        status = os.fstat(descriptor)
        state = (status.st_mtime_ns, status.st_size)
        if self._checked.get(cid) == state:
            return True
        digest = hashlib.sha256()
        while piece := os.read(descriptor, _READ_BYTES):
            digest.update(piece)
        if digest.digest() != cid[4:]:
            return False
        with self._lock:
            while len(self._checked) >= CHECKED_MAX:
                del self._checked[next(iter(self._checked))]
            self._checked[cid] = state
        return True

    def _forget(self, cid: Cid) -> None:
        """Under the lock."""
        self._bytes -= self._sizes.pop(cid, 0)
        self._checked.pop(cid, None)

    def _note_absence(self, cid: Cid) -> None:
        """The file was not there a moment ago; it may have been put since."""
        with self._lock:
            if not self._path(cid).exists():
                self._forget(cid)

    def _set_aside(self, cid: Cid) -> None:
        """Move a damaged file out of the way: it is absent now, and can be fetched anew."""
        _log.warning("blob is damaged, set aside cid=%s", format_cid(cid))
        path = self._path(cid)
        with self._lock, _disk("set a damaged blob aside"):
            self._forget(cid)
            self.damaged_count += 1
            kept = sorted(self._quarantine.iterdir(), key=lambda file: file.stat().st_mtime_ns)
            for old in kept[: max(0, len(kept) + 1 - QUARANTINE_MAX)]:
                old.unlink(missing_ok=True)
            if path.exists():
                path.rename(self._quarantine / path.name)


@contextmanager
def _disk(deed: str) -> Iterator[None]:
    """A disk that refuses is Unavailable(`storage_failed`); an absent file stays what it is."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unavailable("storage_failed", f"the disk failed to {deed}: {error}") from error


def _cid_of_name(name: str) -> Cid | None:
    try:
        value = bytes.fromhex(name)
    except ValueError:
        return None
    return Cid(value) if is_cid(value) else None


def _sync_folder(folder: Path) -> None:
    """Make renames and new names in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
