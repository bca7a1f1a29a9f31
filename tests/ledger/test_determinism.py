"""What validators agree on is the same under every interpreter's moods."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def replayed(hash_seed: int, *options: str) -> str:
    command = [sys.executable, *options, "-m", "tests.ledger.replay"]
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def test_neither_hash_seeds_nor_optimization_change_a_block() -> None:
    digests = {replayed(1), replayed(2, "-O")}
    assert len(digests) == 1
    assert len(digests.pop().strip()) == 64
