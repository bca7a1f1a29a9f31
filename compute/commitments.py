"""A contributor's committed updates on disk: what was committed can be revealed after any crash.

One file per (task, round, base), written whole and synced before the commitment leaves the agent.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.codec.limits import Size
from p2p_aios.errors import Corrupt, Invalid
from p2p_aios.types.gateway import BLOB_BYTES_MAX
from p2p_aios.types.learning import Round, TaskId
from p2p_aios.units import Cid, Hash

COMMITMENTS_KEPT_MAX: Final = 128
"""Older ones are deleted: their rounds have long settled."""
_FILE_BYTES_MAX: Final = BLOB_BYTES_MAX + 1024
_SUFFIX: Final = ".committed"


@dataclass(frozen=True, slots=True)
class CommittedUpdate:
    """Everything that opens a commitment."""

    task: TaskId
    round: Round
    base: Cid
    salt: Hash
    blob: Annotated[bytes, Size(1, BLOB_BYTES_MAX)]

    @property
    def update(self) -> Cid:
        return cid_of(self.blob)


def make_committed(task: TaskId, round: Round, base: Cid, blob: bytes) -> CommittedUpdate:
    """With a fresh salt."""
    return CommittedUpdate(task, round, base, Hash(secrets.token_bytes(32)), blob)


class CommitmentStore:
    """Folder of committed updates; saved to by one thread at a time, read by any."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def save(self, committed: CommittedUpdate) -> None:
        """Durable when it returns."""
        path = self._path(committed.task, committed.round, committed.base)
        draft = path.with_suffix(".draft")
        with draft.open("wb") as file:
            file.write(schema.encode(committed))
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        handle = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        self._prune()

    def find(self, task: TaskId, round: Round, base: Cid) -> CommittedUpdate | None:
        """Raises Corrupt(`commitment_corrupt`) where the file is not what was written."""
        try:
            data = self._path(task, round, base).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return schema.decode(CommittedUpdate, data, _FILE_BYTES_MAX)
        except Invalid as error:
            raise Corrupt("commitment_corrupt", f"in {self._folder}: {error.message}") from None

    def _path(self, task: TaskId, round: Round, base: Cid) -> Path:
        return self._folder / f"{task.hex()}-{round}-{base.hex()[-16:]}{_SUFFIX}"

    def _prune(self) -> None:
        kept = sorted(self._folder.glob(f"*{_SUFFIX}"), key=lambda path: path.stat().st_mtime_ns)
        for path in kept[:-COMMITMENTS_KEPT_MAX]:
            path.unlink()
