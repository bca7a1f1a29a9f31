"""`aios doctor`: each fault is made, found, and comes with a remedy."""

import ctypes
import shutil
import socket
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from p2p_aios.cli import diagnosis, doctor
from p2p_aios.cli.diagnosis import Finding
from p2p_aios.cli.doctor import judge
from p2p_aios.codec.url import parse_url
from p2p_aios.types.views import GatewayState
from p2p_aios.units import Millis
from tests.cli.conftest import Node, Run
from tests.rpc.memory_backend import GENESIS, MemoryBackend

PEER = "16Uiu2HAm1U99Za9VHJDMTtrqctrXSk27n6KaCfXSUwVzLDV2NpTX"
NODE = """
[node]
genesis = "genesis.json"
data = "data"
peer_key = "peer.pem"
[network]
listen = "/ip4/127.0.0.1/tcp/{network}"
[rpc]
listen = "127.0.0.1:{rpc}"
"""


def states(findings: Iterable[Finding]) -> list[str]:
    found = list(findings)
    assert all((finding.remedy is None) == (finding.state == "ok") for finding in found), found
    return [finding.state for finding in found]


def of(findings: list[dict[str, Any]], subject: str) -> list[dict[str, Any]]:
    return [finding for finding in findings if finding["subject"] == subject]


def set_clock(monkeypatch: pytest.MonkeyPatch, node: Node) -> None:
    """The doctor's clock agrees with the blocks of the node, whose genesis is long ago."""

    def now_s() -> float:
        tip = node.backend.blocks[-1].block.header if node.backend.blocks else GENESIS
        return tip.timestamp_ms / 1000 + 0.4

    monkeypatch.setattr(doctor, "time", SimpleNamespace(time=now_s, sleep=time.sleep))


def test_a_healthy_node_is_found_healthy(
    run: Run, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, node)
    assert run("key", "new", "test", "--no-passphrase").code == 0
    ran = run("doctor", "--json")
    found = ran.json
    assert [each["state"] for each in of(found, "packages")] == ["ok"]
    assert [each["state"] for each in of(found, "keys")] == ["warning"], "not encrypted"
    (about,) = [each for each in of(found, "node") if node.url in each["detail"]]
    assert "height" in about["detail"]
    assert ran.code == (1 if any(each["state"] == "fault" for each in found) else 0)
    text = run("doctor").out
    assert "→ use it for test coins only" in text


def test_a_clock_that_is_ahead_of_a_growing_chain_is_a_fault(run: Run, node: Node) -> None:
    """The blocks of this node tell the time of its genesis, long ago."""
    assert node.backend
    ran = run("doctor", "--json")
    assert ran.code == 1
    about = of(ran.json, "clock")[-1]
    assert (about["state"], "clock is ahead" in about["detail"]) == ("fault", True)


def test_no_node_is_a_warning_with_a_remedy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        # Whoever starts a node here would find this port in use.
        monkeypatch.setattr(doctor, "RPC_PORT", taken.getsockname()[1])
        monkeypatch.setattr(doctor, "NETWORK_PORT", 0)
        ran = run("doctor", "--json", "--rpc", "http://127.0.0.1:9")
    (about,) = of(ran.json, "node")
    assert about["state"] == "warning"
    assert "aios testnet up" in about["remedy"]
    assert (ran.code, [each["state"] for each in of(ran.json, "ports")]) == (1, ["fault", "ok"])


def test_a_configured_node_that_runs_is_asked(
    run: Run, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_clock(monkeypatch, node)
    file = tmp_path / "node.toml"
    file.write_text(NODE.format(network=0, rpc=node.url.rpartition(":")[2]))
    found = run("doctor", "--config", str(file), "--json").json
    assert any(node.url in each["detail"] for each in of(found, "node"))
    assert of(found, "ports") == [], "its own ports are in use, as they should be"


def test_peers_that_nobody_reaches_are_told(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "node.toml"
    with socket.socket() as peer:
        peer.bind(("127.0.0.1", 0))
        peer.listen()
        there = f"/ip4/127.0.0.1/tcp/{peer.getsockname()[1]}/p2p/{PEER}"
        gone = f"/ip4/127.0.0.1/tcp/9/p2p/{PEER}"
        listed = f'/tcp/0"\npeers = ["{there}", "{gone}"]'
        file.write_text(NODE.format(network=0, rpc=9).replace('/tcp/0"', listed))
        found = of(run("doctor", "--config", str(file), "--json").json, "peers")
    assert [each["state"] for each in found] == ["ok", "warning"]
    assert "127.0.0.1:9 cannot be reached" in found[1]["detail"]
    file.write_text(NODE.format(network=0, rpc=9))
    (alone,) = of(run("doctor", "--config", str(file), "--json").json, "peers")
    assert (alone["state"], "aios node address" in alone["remedy"]) == ("warning", True)


def test_the_ray_head_and_its_token(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("x")
    with socket.socket() as head:
        head.bind(("127.0.0.1", 0))
        head.listen()
        address = f"127.0.0.1:{head.getsockname()[1]}"
        assert states(diagnosis.check_ray_head(address, token)) == ["ok"]
        assert states(diagnosis.check_ray_head(address, None)) == ["ok", "fault"]
        token.unlink()
        assert states(diagnosis.check_ray_head(address, token)) == ["ok", "fault"]
    assert states(diagnosis.check_ray_head("nowhere", None)) == ["fault"]
    monkeypatch.setenv("AIOS_RAY_ADDRESS", address)
    found = of(run("doctor", "--rpc", "127.0.0.1:9", "--json").json, "ray head")
    assert [each["state"] for each in found] == ["warning", "fault"]


def set_library(monkeypatch: pytest.MonkeyPatch, **functions: Any) -> None:
    library = SimpleNamespace(**functions)
    stand_in = SimpleNamespace(
        CDLL=lambda _: library, create_string_buffer=ctypes.create_string_buffer
    )
    monkeypatch.setattr(diagnosis, "ctypes", stand_in)


def test_a_clock_that_nothing_keeps_right_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for answer, expected in ((0, ["ok"]), (5, ["warning"]), (-1, [])):
        set_library(monkeypatch, adjtimex=lambda _, answer=answer: answer)
        assert states(diagnosis.check_clock()) == expected
    set_library(monkeypatch)
    assert states(diagnosis.check_clock()) == [], "other systems have no adjtimex"


def test_keys_that_others_can_read_are_a_fault(run: Run, home: Path) -> None:
    assert run("key", "new", "mine", "--no-passphrase").code == 0
    (home / "keys" / "mine.pem").chmod(0o644)
    ran = run("doctor", "--json")
    assert ran.code == 1
    (about,) = of(ran.json, "keys")
    assert about == {
        "subject": "keys",
        "state": "fault",
        "detail": f"{home / 'keys' / 'mine.pem'} has mode 644",
        "remedy": f"chmod 600 {home / 'keys' / 'mine.pem'}",
    }
    (home / "keys" / "mine.pem").chmod(0o600)
    (home / "keys" / "mine.pub").unlink()
    (about,) = of(run("doctor", "--json").json, "keys")
    assert about["remedy"] == "aios key export-public mine"
    (home / "keys" / "mine.pub").write_text("x")
    (home / "keys" / "mine.pem").write_text("no key")
    (home / "keys" / "mine.pem").chmod(0o600)
    assert states(diagnosis.check_keys(home / "keys")) == ["fault"]


def test_an_encrypted_key_is_well(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOS_PASSPHRASE", "pass phrase")
    assert run("key", "new", "mine").code == 0
    assert states(diagnosis.check_keys(home / "keys")) == ["ok"]


def test_ports_that_are_taken_are_a_fault(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What listens there never says a word.
    monkeypatch.setattr(doctor, "ANSWER_S_MAX", 0.2)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        file = tmp_path / "node.toml"
        file.write_text(NODE.format(network=0, rpc=port))
        ran = run("doctor", "--config", str(file), "--json")
        assert ran.code == 1
        ports = of(ran.json, "ports")
        assert [each["state"] for each in ports] == ["fault", "ok"]
        assert f"rpc port {port}" in ports[0]["detail"]
        assert "peer.pem is missing" in of(ran.json, "keys")[-1]["detail"]
    assert diagnosis.check_port("rpc", "127.0.0.1", port).state == "ok"
    file.write_text("typo = 1")
    broken = run("doctor", "--config", str(file), "--json")
    (about,) = of(broken.json, "configuration")
    assert (broken.code, about["state"]) == (1, "fault")


def test_a_node_at_an_ipv6_address_is_asked_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(doctor, "_check_node", lambda place: asked.append(place) or ())
    file = tmp_path / "node.toml"
    file.write_text(NODE.format(network=0, rpc=8645).replace("127.0.0.1:8645", "[::1]:8645"))
    run("doctor", "--config", str(file))
    assert [parse_url(place) for place in asked] == ["http://[::1]:8645"]


def test_packages_of_other_versions_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pins = [
        "ray==1.0",
        "typer[all]==0.29.2",
        "nowhere==1",
        "numpy>=1",
        "torch==2; extra == 'torch'",
    ]
    monkeypatch.setattr(diagnosis.metadata, "requires", lambda _: pins)
    (found,) = diagnosis.check_packages()
    assert found.state == "fault"
    assert "nowhere missing, not 1; ray " in found.detail
    monkeypatch.setattr(diagnosis.metadata, "requires", lambda _: ["ray==1.0"])
    assert states(diagnosis.check_packages()) == ["warning"]
    monkeypatch.undo()
    assert states(diagnosis.check_packages("no-such-package-of-ours")) == ["fault"]


@pytest.mark.parametrize(
    ("free", "state"), [(8 << 30, "ok"), (1 << 30, "warning"), (1 << 20, "fault")]
)
def test_a_full_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=free)
    monkeypatch.setattr(diagnosis.shutil, "disk_usage", lambda _: usage)
    assert states([diagnosis.check_disk(tmp_path / "not" / "yet")]) == [state]


def test_few_files_and_no_compiler_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis.resource, "getrlimit", lambda _: (256, 256))
    assert states([diagnosis.check_files()]) == ["warning"]
    monkeypatch.setenv("PATH", "/nonexistent")
    assert states([diagnosis.check_compiler()]) == ["warning"]


def test_orphaned_ray_processes_are_told(tmp_path: Path) -> None:
    for pid, parent, program in ((7, 1, "raylet"), (8, 7, "raylet"), (9, 1, "bash")):
        folder = tmp_path / str(pid)
        folder.mkdir()
        (folder / "status").write_text(f"Name:\t{program}\nPPid:\t{parent}\n")
        (folder / "cmdline").write_bytes(f"/opt/ray/{program}\0--x".encode())
    (tmp_path / "10").mkdir()
    (found,) = diagnosis.check_leftovers(tmp_path)
    assert found.state == "warning"
    assert "raylet (process 7)" in found.detail
    assert str(found.remedy).endswith("kill 7")
    shutil.rmtree(tmp_path / "7")
    assert states(diagnosis.check_leftovers(tmp_path)) == ["ok"]


async def test_a_node_s_own_words_are_judged() -> None:
    status = await MemoryBackend().status()
    now_s = 1_800_000_000.0
    well = replace(
        status,
        timestamp_ms=Millis(int(now_s * 1000) - 400),
        height=9,
        peers=3,
        gateway=GatewayState.READY,
    )
    assert states(judge(well, "x", now_s)) == ["ok"]
    assert states(judge(well, "x", now_s + 60)) == ["warning"]
    assert states(judge(well, "x", now_s - 60)) == ["fault"]
    assert states(judge(well, "x", now_s + 60, is_growing=True)) == ["fault"]
    assert states(judge(well, "x", now_s + 2, is_growing=True)) == ["ok"]
    assert states(judge(replace(well, peers=0), "x", now_s)) == ["ok", "warning"]
    down = replace(well, gateway=GatewayState.DOWN)
    assert states(judge(down, "x", now_s)) == ["ok", "fault"]
