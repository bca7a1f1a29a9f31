"""The children's log files: bounded, read from the end, followed."""

import os
import shutil
from collections.abc import AsyncIterator, Sequence
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


async def follow(log: Path) -> AsyncIterator[str]:
    """Text appended from now on, for ever; goes on after the log was moved aside."""
    position = log.stat().st_size if log.exists() else 0
    while True:
        size = log.stat().st_size if log.exists() else 0
        if size < position:
            position = 0
        if size > position:
            with open(log, "rb") as file:
                file.seek(position)
                data = file.read(TAIL_BYTES_MAX)
            position += len(data)
            yield data.decode(errors="replace")
        else:
            await trio.sleep(FOLLOW_POLL_S)
