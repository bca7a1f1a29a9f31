"""The children's log files: bounded, read from the end, followed."""

import os
import shutil
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Final

import trio

LOG_BYTES_MAX: Final = 16 << 20
"""Beyond it a log moves to NAME.log.1, replacing what was there."""
TAIL_BYTES_MAX: Final = 1 << 20
FOLLOW_POLL_S: Final = 0.2


def bound_log(log: Path, bytes_max: int = LOG_BYTES_MAX) -> None:
    """Move a log that grew beyond `bytes_max` aside; lines written meanwhile may be lost."""
    try:
        if log.stat().st_size <= bytes_max:
            return
    except FileNotFoundError:
        return
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


def tail(log: Path, lines: int) -> Sequence[str]:
    """The last lines, from at most TAIL_BYTES_MAX; none where there is no log yet."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES_MAX))
            return file.read().decode(errors="replace").splitlines()[-lines:] if lines else ()
    except FileNotFoundError:
        return ()


async def follow(log: Path, position: int) -> AsyncGenerator[str, None]:
    """Text after byte `position`, for ever; goes on after the log was moved aside."""
    moved_ns = _moved_ns(log)
    while True:
        if _moved_ns(log) != moved_ns:
            position, moved_ns = 0, _moved_ns(log)
        if size_of(log) > position:
            with open(log, "rb") as file:
                file.seek(position)
                data = file.read(TAIL_BYTES_MAX)
            position += len(data)
            yield data.decode(errors="replace")
        else:
            await trio.sleep(FOLLOW_POLL_S)


def size_of(log: Path) -> int:
    """In bytes; 0 where there is no log yet."""
    return log.stat().st_size if log.exists() else 0


def _moved_ns(log: Path) -> int | None:
    """When the log was last moved aside: a cut one may have grown to its old length again."""
    aside = log.with_name(f"{log.name}.1")
    return aside.stat().st_mtime_ns if aside.exists() else None
