"""The load benchmarks on a real testnet, briefly: they tell the truth, whatever the figures."""

import json
import subprocess
import sys

import pytest

AIOS = (sys.executable, "-m", "p2p_aios.cli.main")


def bench(name: str, seconds: int) -> dict[str, float]:
    command = [*AIOS, "bench", name, "--seconds", str(seconds), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])["figures"]
    return figures


@pytest.mark.slow
def test_transfers_are_taken_and_every_one_succeeds() -> None:
    figures = bench("tx", 5)
    assert figures["finalized_per_s"] > 100
    assert figures["block_interval_p50_ms"] >= 500
    assert (figures["refused"], figures["failed"], figures["forks"]) == (0, 0, 0)


@pytest.mark.slow
def test_an_idle_testnet_makes_blocks_and_little_else() -> None:
    figures = bench("node", 5)
    assert figures["blocks_per_s"] > 0.5
    assert 0 < figures["idle_cpu_percent"] < 200
    assert 20 < figures["rss_mb"] < 400
