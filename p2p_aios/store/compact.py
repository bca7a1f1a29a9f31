"""Giving disk space back: a copy of the chain's database without its unused pages.

LMDB reuses pages but never shrinks its file: one that once held more, before pruning was turned
on, say, stays as large as it was. The copy is written beside the original, made durable, compared
with it, and put in its place by one rename. Whenever the machine dies, one whole file is there; a
half-written copy is removed by the next compaction.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2p_aios.errors import Invalid, Unavailable, invariant
from p2p_aios.store.chain import KIND, VERSION
from p2p_aios.store.lmdb import DATA_FILE, Environment, open_environment
from p2p_aios.store.snapshot import META, TABLES
from p2p_aios.store.transaction import Reader

COPY_FOLDER: Final = "compacting"
SPARE_BYTES: Final = 16 << 20
"""Room that must be left on the disk beside the copy."""


@dataclass(frozen=True, slots=True)
class Compaction:
    before_bytes: int
    after_bytes: int


def compact_chain(folder: Path) -> Compaction:
    """Compact the chain store in `folder`, which no process may have open.

    Raises Invalid(`chain_missing`); Unavailable: `store_locked`, `disk_too_full`, `store_failed`;
    Corrupt as `open_environment`.
    """
    require_chain(folder)
    copy = folder / COPY_FOLDER
    with open_environment(folder, KIND, VERSION, TABLES) as environment:
        before = (folder / DATA_FILE).stat().st_size
        try:
            shutil.rmtree(copy, ignore_errors=True)
            _require_room(folder, environment.file_bytes())
            copy.mkdir(mode=0o700)
            environment.copy(copy)
            _compare(environment, copy)
            environment.close_and_adopt(copy)
        except OSError as error:
            raise Unavailable("store_failed", f"cannot write {copy}: {error.strerror}") from None
        finally:
            shutil.rmtree(copy, ignore_errors=True)
    return Compaction(before, (folder / DATA_FILE).stat().st_size)


def require_chain(folder: Path) -> None:
    """Raises Invalid(`chain_missing`) where there is no chain store to look at."""
    if not (folder / DATA_FILE).is_file():
        raise Invalid("chain_missing", f"{folder} holds no chain: has the node ever run?")


def _require_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise Unavailable(
            "disk_too_full",
            f"{free >> 20} MiB are free, and a copy may take {(size + SPARE_BYTES) >> 20} MiB",
        )


def _compare(environment: Environment, copy: Path) -> None:
    """The copy opens, and holds as much as the original and the same tip."""
    with (
        open_environment(copy, KIND, VERSION, TABLES) as copied,
        environment.read() as original,
        copied.read() as other,
    ):
        invariant(_outline(original) == _outline(other), "a copy holds what the original does")


def _outline(reader: Reader) -> tuple[list[int], list[tuple[bytes, bytes]]]:
    return [reader.count(table) for table in TABLES], list(reader.items(META))
