"""A node's process: how it starts, how it ends, and with which exit code."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from p2p_aios.cli.main import CORRUPT, REFUSED, UNAVAILABLE
from p2p_aios.codec import schema
from p2p_aios.crypto.keystore import save_keystore
from p2p_aios.units import Millis
from tests.node.founders import PARAMS, Founders

pytestmark = pytest.mark.slow
START_S_MAX = 60


class NodeProcess:
    """`aios node run` of a lone validator in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        params = replace(PARAMS, beacon_chain_length=4096, block_interval_ms=Millis(50))
        founders = Founders(1, params, time.time_ns() // 10**6)
        (folder / "genesis.json").write_text(json.dumps(schema.to_json(founders.genesis)))
        save_keystore(folder / "peer.pem", founders.peer(0), None)
        save_keystore(folder / "validator.pem", founders.validators[0], None)
        self.configure()
        self.running: list[subprocess.Popen[str]] = []

    def configure(self, rpc: str = "127.0.0.1:0", more: str = "") -> None:
        (self.folder / "node.toml").write_text(
            '[node]\ngenesis = "genesis.json"\ndata = "data"\npeer_key = "peer.pem"\n'
            'validator_key = "validator.pem"\n[network]\nlisten = "/ip4/127.0.0.1/tcp/0"\n'
            f'[rpc]\nlisten = "{rpc}"\n{more}'
        )

    def start(self) -> subprocess.Popen[str]:
        config = str(self.folder / "node.toml")
        command = [sys.executable, "-m", "p2p_aios.cli.main", "node", "run", "--config", config]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.running.append(process)
        return process

    def run(self) -> tuple[int, str]:
        """Start one that ends by itself; exit code and last line."""
        _, errors = (process := self.start()).communicate(timeout=START_S_MAX)
        return process.returncode, errors.strip().splitlines()[-1]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeProcess]:
    made = NodeProcess(tmp_path)
    yield made
    for process in made.running:
        if process.poll() is None:
            process.kill()
            process.communicate()


def read_until(process: subprocess.Popen[str], text: str, times: int = 1) -> str:
    """The line with the last of so many occurrences."""
    assert process.stderr is not None
    for line in process.stderr:
        times -= text in line
        if times == 0:
            return line
    raise AssertionError(f"it ended with {process.wait()} before it said {text!r}")


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_it_cleanly_and_nothing_final_is_lost(node: NodeProcess, name: str) -> None:
    heights = []
    for _ in range(2):
        process = node.start()
        line = read_until(process, " block height=", times=5)
        process.send_signal(getattr(signal, name))
        _, rest = process.communicate(timeout=20)
        assert process.returncode == 0, rest
        assert "Traceback" not in rest
        heights.append(int(line.split("height=")[1].split()[0]))
    assert heights[1] > heights[0]


def test_a_second_one_on_the_same_folder_is_refused(node: NodeProcess) -> None:
    first = node.start()
    read_until(first, " block height=")
    code, line = node.run()
    assert (code, "[store_locked]" in line) == (UNAVAILABLE, True)
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=20)
    assert first.returncode == 0


def test_what_cannot_start_says_why(node: NodeProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        node.configure(rpc=f"127.0.0.1:{taken.getsockname()[1]}")
        code, line = node.run()
        assert (code, "[port_unavailable]" in line) == (UNAVAILABLE, True)
    node.configure(more="[log]\nlevel = 'loud'\n")
    code, line = node.run()
    assert (code, "[config_out_of_range]" in line) == (REFUSED, True)
    node.configure(rpc="0.0.0.0:0")
    code, line = node.run()
    assert (code, "[token_required]" in line) == (REFUSED, True)


def test_a_damaged_disk_stops_it(node: NodeProcess) -> None:
    process = node.start()
    read_until(process, " block height=", times=6)
    process.kill()
    process.communicate()
    (journal,) = sorted((node.folder / "data" / "journal").glob("*.journal"))
    damaged = bytearray(journal.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    journal.write_bytes(damaged)
    code, line = node.run()
    assert (code, "[journal_damaged]" in line) == (CORRUPT, True)
