"""`.ci/run` does what the README says, in a clean copy, and fails loudly where it cannot."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = """# A project

## Run it

```sh
exit 50
```

## Test it

So:

```sh
{}
```

```sh
exit 51
```
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    checkout = tmp_path / "checkout"
    (checkout / ".ci").mkdir(parents=True)
    shutil.copy(ROOT / ".ci" / "run", checkout / ".ci" / "run")
    git(checkout, "init", "-q")
    return checkout


def git(checkout: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@example.invalid")
    subprocess.run(["git", *identity, *arguments], cwd=checkout, check=True, capture_output=True)


def commit(checkout: Path, readme: str) -> None:
    (checkout / "README.md").write_text(readme)
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "test")


def ci(checkout: Path, shared: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "AIOS_SHARED"}
    environment |= {"TMPDIR": str(checkout.parent)}
    if shared is not None:
        environment["AIOS_SHARED"] = shared
    return subprocess.run(
        [str(checkout / ".ci" / "run")],
        cwd=checkout.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def copies(checkout: Path) -> list[Path]:
    return list(checkout.parent.glob("aios-ci.*"))


def test_the_line_runs_in_a_copy_of_the_commit(checkout: Path) -> None:
    commit(checkout, README.format("ls -A; pwd; echo vectors=${AIOS_SHARED-}; : pytest"))
    (checkout / "not-committed").touch()
    done = ci(checkout)
    assert done.returncode == 0, done.stderr
    listed = done.stdout.split()
    assert listed[:2] == [".ci", "README.md"]
    assert "not-committed" not in listed
    assert str(checkout) not in listed
    assert "vectors=" in listed
    assert copies(checkout) == []


def test_its_status_is_ours(checkout: Path) -> None:
    commit(checkout, README.format("exit 7 # pytest"))
    assert ci(checkout).returncode == 7
    assert copies(checkout) == []


def test_a_failing_first_line_of_several_is_not_passed_over(checkout: Path) -> None:
    commit(checkout, README.format("false\ntrue # pytest"))
    assert ci(checkout).returncode == 1


def test_vectors_beside_the_checkout_are_handed_on_as_an_absolute_path(checkout: Path) -> None:
    commit(checkout, README.format("echo vectors=$AIOS_SHARED # pytest"))
    (checkout.parent / "shared").mkdir()
    assert f"vectors={checkout.parent / 'shared'}" in ci(checkout).stdout
    (checkout.parent / "elsewhere").mkdir()
    assert f"vectors={checkout.parent / 'elsewhere'}" in ci(checkout, "elsewhere").stdout


def test_named_vectors_that_are_not_there_are_a_failure(checkout: Path) -> None:
    commit(checkout, README.format("true # pytest"))
    done = ci(checkout, "/nonexistent")
    assert done.returncode == 2
    assert "AIOS_SHARED" in done.stderr


@pytest.mark.parametrize(
    "readme",
    [
        "# nothing\n",
        "## Test it\n\nno block\n",
        "## Test it\n\n```sh\npytest\n",
        "## Test it\n\n```sh\n\n```\n",
        "## Test it\n\n```sh\necho done\n```\n",
        "## Test it\n\n## Use it\n\n```sh\npytest\n```\n",
        "## Test it all\n\n```sh\npytest\n```\n",
    ],
)
def test_a_readme_without_the_line_is_a_failure(checkout: Path, readme: str) -> None:
    commit(checkout, readme)
    done = ci(checkout)
    assert done.returncode == 2
    assert "Test it" in done.stderr


def test_our_own_readme_has_both_lines() -> None:
    text = (ROOT / "README.md").read_text()
    one_liners = [line for line in text.splitlines() if line.startswith("python3 -m venv .venv &&")]
    assert len(one_liners) == 2
    assert one_liners[0].endswith("aios testnet demo")
    assert one_liners[1].endswith("pytest")
    assert text.index("## Test it\n") < text.index(one_liners[1])
