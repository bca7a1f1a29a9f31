"""Commands that other installed packages bring, whole and broken."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from p2p_aios.cli.main import GROUPS, app
from tests.cli.conftest import Run

ROOT = Path(__file__).parent.parent.parent
MODULE = """
import typer
from p2p_aios.cli.session import current
from p2p_aios.errors import Unavailable

app = typer.Typer(add_completion=False, help="Pluggable things.")

@app.command()
def up(is_json: bool = typer.Option(False, "--json")):
    "Go up."
    print("up", is_json or current().is_json)

@app.command()
def fail():
    raise Unavailable("cluster_down", "start it")

def build():
    return app

def join_app():
    single = typer.Typer(add_completion=False)

    @single.command()
    def join(name: str):
        "Join as NAME."
        print("joined", name)

    return single
"""

Install = Callable[[dict[str, str]], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Put a package with these `aios.commands` on the path, as an installer would."""

    def write(commands: dict[str, str]) -> None:
        (tmp_path / "plugged_in.py").write_text(MODULE)
        info = tmp_path / "plugged_in-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged-in\nVersion: 1.0\n")
        lines = [f"{name} = {place}" for name, place in commands.items()]
        (info / "entry_points.txt").write_text("[aios.commands]\n" + "\n".join(lines) + "\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop("plugged_in", None)

    return write


def test_group_from_an_app_and_from_a_callable(run: Run, install: Install) -> None:
    install({"whole": "plugged_in:app", "made": "plugged_in:build"})
    assert run("whole", "up").out == "up False\n"
    assert run("made", "up", "--json").out == "up True\n"
    assert run("--json", "made", "up").out == "up True\n"
    assert "Pluggable things" in run("--help").out


def test_errors_of_plugins_are_told_like_ours(run: Run, install: Install) -> None:
    install({"whole": "plugged_in:app"})
    ran = run("whole", "fail")
    assert (ran.code, ran.err) == (3, "error [cluster_down]: start it\n")
    assert run("--json", "whole", "fail").json["error"]["code"] == "cluster_down"


def test_commands_join_a_group_of_ours(run: Run, install: Install) -> None:
    install({"worker.join": "plugged_in:join_app", "worker": "plugged_in:app"})
    assert run("worker", "join", "ada").out == "joined ada\n"
    assert run("worker", "up", "--json").out == "up True\n"
    listed = run("worker", "--help").out
    assert all(name in listed for name in ("list", "join", "up"))


@pytest.mark.parametrize("place", ["no_such_module:app", "plugged_in:nothing", "plugged_in:typer"])
def test_broken_plugin_costs_only_itself(run: Run, install: Install, place: str) -> None:
    install({"broken": place})
    ran = run("broken", "up")
    assert ran.code == 1
    assert ran.err.startswith("error [plugin_broken]: command 'broken' of plugged-in")
    assert "reinstall" in ran.err
    assert run("key", "list").code == 0
    help_text = run("--help")
    assert (help_text.code, "does not load" in help_text.out) == (0, True)


def test_broken_plugin_of_our_group_leaves_the_rest(run: Run, install: Install) -> None:
    install({"worker.join": "no_such_module:app", "worker": "plugged_in:nothing"})
    listed = run("worker", "--help")
    assert (listed.code, "does not load" in listed.out) == (0, True)
    assert "[plugin_broken]" in run("worker", "join", "ada").err
    assert run("worker", "list", "--help").code == 0


def test_our_groups_load_no_plugin(run: Run, install: Install) -> None:
    install({"whole": "plugged_in:app", "worker.join": "plugged_in:join_app"})
    assert run("key", "list").code == 0
    assert run("worker", "list", "--help").code == 0
    assert "plugged_in" not in sys.modules


PROGRAM = """
import sys
from p2p_aios.cli.main import main
code = main()
heavy = sorted({"trio", "httpx", "ecdsa", "ray", "numpy", "rich"} & set(sys.modules))
sys.exit(f"loaded {heavy}" if heavy else code)
"""


@pytest.mark.parametrize(
    ("arguments", "environment"),
    [
        (("--help",), {}),
        (("tx", "--help"), {}),
        (("learn", "submit", "--help"), {}),
        ((), {"_AIOS_COMPLETE": "complete_bash", "COMP_WORDS": "aios t", "COMP_CWORD": "1"}),
    ],
)
def test_help_and_completion_load_nothing_heavy(
    arguments: tuple[str, ...], environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={"AIOS_HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **environment},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {"tx", "submit", "--help"} & set(done.stdout.split())


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("name", ["tx", "worker", "bench", "testnet", "verify"])
def test_a_bare_group_is_a_usage_error_that_shows_its_help(run: Run, name: str) -> None:
    bare = run(name)
    assert (bare.code, bare.out) == (2, "")
    assert bare.err == run(name, "--help").out


def test_summaries_are_those_of_the_commands() -> None:
    root = typer.main.get_command(app)
    context = typer.Context(root, info_name="aios")
    for name, (_, summary) in GROUPS.items():
        own = root.get_command(context, name).get_short_help_str(200)
        assert own.rstrip(".") == summary.rstrip("."), name


def test_unknown_command(run: Run) -> None:
    ran = run("wrong")
    assert ran.code == 2
    assert "No such command 'wrong'" in ran.err
