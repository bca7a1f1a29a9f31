"""The leash ends everything below it, however its owner, its command or itself goes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from compute.environment import TEMPORARY_FOLDER
from compute.leftovers import end_leftovers, processes_of

DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()                # an orphan in a session of its own, as Ray's servers are
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
print("ready", flush=True)
time.sleep(float(sys.argv[1]))
sys.exit(5)
"""


def start(folder: Path, seconds: float, watched: str = "") -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "compute.leash", watched, "--"]
    child = subprocess.Popen(
        [*command, sys.executable, "-c", DAEMON, str(seconds)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {TEMPORARY_FOLDER: str(folder)},
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    end_leftovers(tmp_path)


def is_gone(folder: Path) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        if not processes_of(folder):
            return True
        time.sleep(0.05)
    return False


def test_the_owner_gone_ends_all(folder: Path) -> None:
    leash = start(folder, 600)
    assert len(processes_of(folder)) == 3
    assert leash.stdin is not None
    leash.stdin.close()
    assert leash.wait(15) == 0
    assert is_gone(folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(folder: Path, number: signal.Signals) -> None:
    leash = start(folder, 600)
    leash.send_signal(number)
    assert leash.wait(15) == 128 + number
    assert is_gone(folder)


def test_the_end_of_the_command_ends_its_orphans(folder: Path) -> None:
    leash = start(folder, 0.2)
    assert leash.wait(15) == 5
    assert is_gone(folder)


def test_a_watched_server_gone_ends_all(folder: Path) -> None:
    leash = start(folder, 600, watched=Path(os.path.realpath(sys.executable)).name[:15])
    time.sleep(1)
    for pid in processes_of(folder) - {leash.pid}:
        os.kill(pid, signal.SIGKILL)
    assert leash.wait(15) in (1, 128 + signal.SIGKILL)
    assert is_gone(folder)


def test_leftovers_of_a_killed_leash_are_found_by_their_folder(folder: Path) -> None:
    leash = start(folder, 600)
    leash.kill()
    leash.wait()
    assert len(processes_of(folder)) == 2
    assert processes_of(folder / "other") == set()
    assert end_leftovers(folder) == 2
    assert is_gone(folder)
