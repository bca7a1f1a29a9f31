"""The tools that read all of the source: import-linter, ruff, mypy --strict."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOOL_S_MAX = 600


def run(tool: str, *arguments: str) -> None:
    """Run a program of this environment from the root; its report is the failure."""
    program = Path(sys.executable).with_name(tool)
    done = subprocess.run(
        [str(program), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TOOL_S_MAX,
        check=False,
    )
    assert done.returncode == 0, f"{tool}\n{done.stdout}\n{done.stderr}"


def test_imports_point_downward() -> None:
    run("lint-imports", "--no-logo")


def test_ruff_finds_nothing() -> None:
    run("ruff", "check", ".")


def test_everything_is_formatted() -> None:
    run("ruff", "format", "--check", ".")


@pytest.mark.slow
@pytest.mark.timeout(TOOL_S_MAX)
def test_types_hold() -> None:
    run("mypy")
