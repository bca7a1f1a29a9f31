"""`aios testnet demo` and `aios bench`, as programs that another program runs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testnet.layout import layout_at, read_plan
from testnet.processes import find_processes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

AIOS = (sys.executable, "-m", "p2p_aios.cli.main")
PROMISED = {
    "blocks", "block_interval_p50_ms", "finality_p50_ms", "finality_p99_ms", "rounds",
    "round_p50_ms", "accuracy", "central_accuracy", "verified", "supply_ok", "setup_s", "total_s",
}  # fmt: skip


def test_the_demo_trains_and_checks_and_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "net"
    command = [*AIOS, "testnet", "demo", "--rounds", "4", "--dir", str(root), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures.keys() >= PROMISED
    assert figures["verified"]
    assert figures["supply_ok"]
    assert figures["chains_equal"]
    assert figures["rounds"] == 4
    assert figures["blocks"] > 8
    assert figures["transfers"] > 50
    assert figures["accuracy"] > 0.85
    assert figures["central_accuracy"] > 0.9
    assert all(paid > 0 for paid in figures["rewards_aios"].values())
    assert "round 4/4" in done.stderr
    assert find_processes(read_plan(layout_at(root)).id) == ()


def test_an_interrupted_demo_leaves_nothing(tmp_path: Path) -> None:
    root = tmp_path / "net"
    command = [*AIOS, "testnet", "demo", "--dir", str(root)]
    demo = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    layout = layout_at(root)
    until = time.monotonic() + 90
    while not (layout.plan_file.exists() and len(find_processes(read_plan(layout).id)) >= 8):
        assert time.monotonic() < until
        assert demo.poll() is None
        time.sleep(0.2)
    os.kill(demo.pid, signal.SIGINT)
    assert demo.wait(90) == 130
    assert find_processes(read_plan(layout).id) == ()


def test_the_finality_bench_prints_one_object_last() -> None:
    command = [*AIOS, "bench", "finality", "--seconds", "5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["bench"] == "finality"
    assert {"block_interval_p50_ms", "finality_p50_ms", "finality_p99_ms"} <= set(result["figures"])
    assert result["figures"]["forks"] == 0
    assert result["machine"]["cores"] > 0
