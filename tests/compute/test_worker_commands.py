"""`aios worker`: options are checked before anything starts, and errors say what to do."""

import json
from pathlib import Path

import numpy as np
import pytest

from compute.local_data import LocalData, save_local_data
from p2p_aios.cli.main import main
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.crypto.keystore import save_keystore

KEY = KeyPair.from_secret(b"\x09" * 32)
CHAIN = "ab" * 32


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("AIOS_HOME", str(tmp_path / "home"))
    save_keystore(tmp_path / "key.pem", KEY, None)
    rows = LocalData(np.zeros((2, 3), np.float32), np.zeros(2, np.int64))
    save_local_data(tmp_path / "data.npz", rows)
    return {
        "--address": "127.0.0.2:1",
        "--token-file": str(tmp_path / "token"),
        "--key": str(tmp_path / "key.pem"),
        "--data": str(tmp_path / "data.npz"),
        "--chain-id": CHAIN,
        "--rpc": "http://127.0.0.1:9",
        "--ray-folder": str(tmp_path / "ray"),
    }


def join(options: dict[str, str], *more: str) -> int:
    line = [word for pair in options.items() for word in pair]
    return main(["worker", "join", *line, *more])


@pytest.mark.parametrize(
    ("option", "value", "code", "status"),
    [
        ("--address", "nowhere", "address_malformed", 2),
        ("--node-ip", "127.0.0.1", "address_unjoinable", 2),
        ("--chain-id", "ab", "chain_id_malformed", 2),
        ("--kinds", "train,dance", "kinds_malformed", 2),
        ("--fee-max", "much", "amount_malformed", 2),
        ("--home", "aios1nobody", "address_malformed", 2),
        ("--key", "absent.pem", "keystore_missing", 1),
        ("--token-file", "absent", "ray_token_missing", 3),
    ],
)
def test_join_names_the_option_at_fault(
    options: dict[str, str],
    capsys: pytest.CaptureFixture[str],
    option: str,
    value: str,
    code: str,
    status: int,
) -> None:
    assert join(options | {option: value}, "--json") == status
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert told[-1]["error"]["code"] == code
    assert all(each["event"] == "agent" for each in told[:-1])


def test_join_settles_folder_and_chain_and_tells_them(
    options: dict[str, str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert join(options) == 3
    folder = tmp_path / "home" / "workers" / format_address(KEY.address)
    told = capsys.readouterr()
    assert f"chain {CHAIN}\nfolder {folder}\n" in told.out
    assert told.err.startswith("error [ray_token_missing]: ")
    assert (folder / "chain-id").read_text().strip() == CHAIN
    # What is pinned needs no option, and no node.
    del options["--chain-id"]
    assert join(options) == 3
    assert "[ray_token_missing]" in capsys.readouterr().err
    assert join(options | {"--chain-id": "cd" * 32}) == 1
    assert "error [chain_differs]: " in capsys.readouterr().err


def test_join_needs_a_node_to_learn_the_chain(
    options: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    del options["--chain-id"]
    assert join(options) == 3
    assert "[node_unreachable]" in capsys.readouterr().err
    assert join(options, "--no-register") == 3
    assert "[unknown_chain]" in capsys.readouterr().err


def test_head_refuses_an_address_that_cannot_be_joined(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["worker", "head", "--address", "127.0.0.1:6379", "--token-file", str(tmp_path / "t")]
    assert main(line) == 2
    assert "[address_unjoinable]" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["head", "join"])
def test_help_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["worker", command, "--help"]) == 0
    assert capsys.readouterr().out.count(f"aios worker {command}") > 1
