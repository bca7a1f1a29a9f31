"""The commands as a user meets them: answers, refusals with their codes, JSON for programs."""

import json
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.console import Console

from compute.commands import app as worker_app
from p2p_aios.cli.main import main
from p2p_aios.errors import Corrupt
from testnet.bench.command import BENCHES
from testnet.bench.table import figures_table
from testnet.creation import Wish, create
from testnet.layout import Layout, layout_at, read_plan
from testnet.logs import bound_log, follow, size_of, tail
from testnet.roster import chain_id_of, stages_of


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = layout_at(tmp_path_factory.mktemp("made") / "net")
    create(layout, Wish(nodes=2, workers=1))
    return layout


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and the JSON object of the last line."""
    code = main([*arguments, "--json"])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("command", [["status"], ["down"], ["logs", "node-0"], ["kill", "node-0"]])
def test_without_a_testnet_every_command_says_how_to_make_one(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    code, answer = run(capsys, "testnet", *command, "--dir", str(tmp_path))
    assert code == 1
    assert answer["error"]["code"] == "testnet_missing"
    assert "aios testnet up" in answer["error"]["message"]


def test_status_of_a_testnet_that_is_down(capsys: pytest.CaptureFixture[str], made: Layout) -> None:
    code, answer = run(capsys, "testnet", "status", "--dir", str(made.root))
    assert code == 3
    assert not answer["up"]
    assert not answer["ready"]
    assert (answer["orphans"], answer["nodes"], answer["head"]) == (0, [], None)


def test_env_points_at_the_first_node_and_a_wallet(
    capsys: pytest.CaptureFixture[str], made: Layout
) -> None:
    code, answer = run(capsys, "testnet", "env", "--dir", str(made.root))
    plan = read_plan(made)
    assert code == 0
    assert plan.ray is not None
    assert answer["AIOS_RPC"] == plan.nodes[0].url
    assert Path(answer["AIOS_KEY"]).exists()
    assert Path(answer["AIOS_RAY_TOKEN_FILE"]).exists()
    assert answer["AIOS_RAY_ADDRESS"] == f"{plan.ray.ip}:{plan.ray.port}"
    main(["testnet", "env", "--dir", str(made.root)])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"export AIOS_RPC={plan.nodes[0].url}"


def test_down_where_nothing_runs_is_no_error(
    capsys: pytest.CaptureFixture[str], made: Layout
) -> None:
    code, answer = run(capsys, "testnet", "down", "--dir", str(made.root))
    assert (code, answer["was_running"], answer["ended"]) == (0, False, 0)


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["kill", "node-9"], "unknown_process"),
        (["kill", "gateway-9"], "unknown_process"),
        (["kill", "node-0"], "testnet_not_running"),
        (["kill", "gateway-0"], "testnet_not_running"),
        (["kill", "node-0", "--signal", "HUG"], "unknown_signal"),
        (["logs", "node-9"], "unknown_process"),
        (["up", "--nodes", "5"], "testnet_differs"),
        (["up", "--preset", "moonnet"], "testnet_differs"),
    ],
)
def test_refusals_have_codes(
    capsys: pytest.CaptureFixture[str], made: Layout, command: list[str], code: str
) -> None:
    exit_code, answer = run(capsys, "testnet", *command, "--dir", str(made.root))
    assert exit_code in (1, 3)
    assert answer["error"]["code"] == code


def test_logs_show_the_end(capsys: pytest.CaptureFixture[str], made: Layout) -> None:
    made.log("node-0").parent.mkdir(exist_ok=True)
    made.log("node-0").write_text("".join(f"line {number}\n" for number in range(100)))
    _, answer = run(capsys, "testnet", "logs", "node-0", "-n", "2", "--dir", str(made.root))
    assert answer["lines"] == ["line 98", "line 99"]


def test_bench_lists_what_can_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in BENCHES if f"\n  {name} " not in shown] == []


@pytest.mark.parametrize("name", BENCHES)
def test_a_bench_offers_the_option_it_takes_and_no_other(
    capsys: pytest.CaptureFixture[str], name: str
) -> None:
    assert main(["bench", name, "--help"]) == 0
    shown = capsys.readouterr().out
    for option in ("seconds", "largest"):
        assert (f"--{option}" in shown) == (BENCHES[name].takes == option)


def test_a_committee_has_its_limit(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run(capsys, "bench", "committee", "--largest", "65")
    assert (code, answer["error"]["code"]) == (1, "committee_too_large")


def test_verify_refuses_what_is_no_task(capsys: pytest.CaptureFixture[str]) -> None:
    code, answer = run(capsys, "verify", "round", "--task", "xyz", "--round", "0")
    assert (code, answer["error"]["code"]) == (2, "id_malformed")


def test_peers_stand_beside_the_figure_they_measure(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {"updates_per_s": 58_000.0, "reads_per_s": 2.5}
    peers = {"py_trie_updates_per_s": 1_800.0, "py_trie_keys": 20_000.0}
    Console(width=80).print(figures_table(figures, peers))
    lines = capsys.readouterr().out.splitlines()
    heading = next(line for line in lines if "figure" in line)
    assert "py_trie" in heading
    updates = next(line for line in lines if "updates_per_s" in line)
    assert "58,000" in updates
    assert "1,800" in updates


def test_every_process_is_told_what_its_program_understands(made: Layout) -> None:
    (head,), others = stages_of(made, read_plan(made))
    specs = {spec.name: spec for spec in (head, *others)}
    assert list(specs) == ["ray-head", "node-0", "node-1", "worker-0"]
    assert Path(specs["node-1"].argv[-1]) == made.node("node-1") / "config.toml"
    group = typer.main.get_command(worker_app)
    for name, command in (("ray-head", "head"), ("worker-0", "join")):
        words = specs[name].argv[3:]
        assert words[0] == command
        parameters = group.commands[command].params  # type: ignore[attr-defined]
        known = {option for parameter in parameters for option in parameter.opts}
        required = {parameter.opts[0] for parameter in parameters if parameter.required}
        given = {word for word in words if word.startswith("--")}
        assert given <= known
        assert required <= given
    assert chain_id_of(made).hex() in specs["worker-0"].argv


def test_children_use_one_thread_and_nobody_elses_cluster(
    made: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    for stage in stages_of(made, read_plan(made)):
        for spec in stage:
            assert spec.environment["OMP_NUM_THREADS"] == "1"
            assert spec.environment["RAY_ENABLE_UV_RUN_RUNTIME_ENV"] == "0"
            assert "RAY_ADDRESS" not in spec.environment


def test_a_damaged_genesis_has_its_code(tmp_path: Path) -> None:
    layout = layout_at(tmp_path)
    for content in ("{", "{}", '{"network": 1}'):
        layout.genesis_file.write_text(content)
        with pytest.raises(Corrupt) as refusal:
            chain_id_of(layout)
        assert refusal.value.code == "testnet_genesis_corrupt"


def test_a_log_that_grew_too_large_moves_aside(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    bound_log(log, 10)
    log.write_text("0123456789")
    bound_log(log, 10)
    assert log.read_text() == "0123456789"
    with open(log, "a") as writer:
        writer.write("x")
        writer.flush()
        bound_log(log, 10)
        writer.write("after")
    assert log.with_name("node.log.1").read_text() == "0123456789x"
    assert log.read_text() == "after"


def test_the_tail_of_no_log_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log", 5) == ()
    (tmp_path / "one.log").write_bytes(b"\xff\xfe\nlast")
    assert tail(tmp_path / "one.log", 1) == ["last"]
    assert tail(tmp_path / "one.log", 0) == ()


async def test_following_a_log_survives_its_moving_aside(tmp_path: Path) -> None:
    log = tmp_path / "node.log"
    log.write_text("old\n")
    following = follow(log, size_of(log))
    with open(log, "a") as writer:
        seen: list[str] = []
        for text in ("one\n", "two\n"):
            writer.write(text)
            writer.flush()
            seen.append(await anext(following))
            bound_log(log, 0)
    await following.aclose()
    assert seen == ["one\n", "two\n"]
