"""A node in a thread beside the command line under test, and a home folder of its own."""

import json
import os
import threading
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_aios.cli.keyring import add_key
from p2p_aios.cli.main import main
from p2p_aios.cli.session import open_session
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.rpc.config import RpcConfig
from p2p_aios.rpc.server import serve_rpc
from tests.rpc.memory_backend import ALICE, BOB, MemoryBackend

ROOT = Path(__file__).parent.parent.parent


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The only line of output."""
        (line,) = self.out.splitlines()
        return json.loads(line)


Run = Callable[..., Ran]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home; no key, no node."""
    for name in [name for name in os.environ if name.startswith("AIOS_") and name != "AIOS_SHARED"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AIOS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "dumb")
    return tmp_path / "home"


@pytest.fixture
def run(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run one command line in this process."""
    assert home.parent.is_dir()

    def run_once(*arguments: str) -> Ran:
        code = main(list(arguments))
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run_once


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This checkout's commands; an installation keeps those of the day it was made."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    info = tmp_path / "checkout" / "checkout-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: checkout\nVersion: 1.0\n")
    lines = [f"{name} = {place}" for name, place in declared["aios.commands"].items()]
    (info / "entry_points.txt").write_text("[aios.commands]\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(str(info.parent))


@pytest.fixture
def keys(home: Path) -> dict[str, KeyPair]:
    """Keys `alice` (who has funds) and `bob`, unencrypted."""
    assert not home.exists()
    open_session(None, False)
    named = {"alice": ALICE, "bob": BOB}
    for name, key in named.items():
        add_key(name, key, None)
    return named


@dataclass
class Node:
    url: str
    backend: MemoryBackend


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch, home: Path) -> Iterator[Node]:
    """A served `MemoryBackend` that finalizes whatever waits, and a block now and then."""
    assert home
    backend = MemoryBackend()
    ready: list[str] = []
    started = threading.Event()
    stop = trio.Event()
    token: list[trio.lowlevel.TrioToken] = []

    async def serve() -> None:
        token.append(trio.lowlevel.current_trio_token())
        async with trio.open_nursery() as nursery:

            async def start(task_status: Any) -> None:
                await serve_rpc(backend, backend.feed, RpcConfig(port=0), task_status=task_status)

            ready.append(await nursery.start(start))
            nursery.start_soon(finalize)
            started.set()
            await stop.wait()
            nursery.cancel_scope.cancel()

    async def finalize() -> None:
        while True:
            await trio.sleep(0.05)
            backend.finalize()

    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    assert started.wait(60)
    monkeypatch.setenv("AIOS_RPC", ready[0])
    yield Node(ready[0], backend)
    token[0].run_sync_soon(stop.set)
    thread.join(60)
    assert not thread.is_alive()
