"""`aios worker`: options are checked before anything starts, and errors say what to do."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from compute.commands import app
from compute.local_data import LocalData, save_local_data
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.crypto.keystore import save_keystore


@pytest.fixture
def options(tmp_path: Path) -> dict[str, str]:
    save_keystore(tmp_path / "key.pem", KeyPair.from_secret(b"\x09" * 32), None)
    rows = LocalData(np.zeros((2, 3), np.float32), np.zeros(2, np.int64))
    save_local_data(tmp_path / "data.npz", rows)
    return {
        "--address": "127.0.0.2:1",
        "--token-file": str(tmp_path / "token"),
        "--key": str(tmp_path / "key.pem"),
        "--data": str(tmp_path / "data.npz"),
        "--chain-id": "ab" * 32,
        "--node-ip": "127.0.0.3",
        "--folder": str(tmp_path / "worker"),
        "--ray-folder": str(tmp_path / "ray"),
    }


@pytest.mark.parametrize(
    ("option", "value", "code"),
    [
        ("--address", "nowhere", "address_malformed"),
        ("--node-ip", "127.0.0.1", "address_unjoinable"),
        ("--chain-id", "ab", "chain_id_malformed"),
        ("--kinds", "train,dance", "kinds_malformed"),
        ("--fee-max", "much", "amount_malformed"),
        ("--key", "absent.pem", "keystore_missing"),
        ("--home", "aios1nobody", "address_malformed"),
        ("--token-file", "absent", "ray_token_missing"),
    ],
)
def test_join_names_the_option_at_fault(
    options: dict[str, str], option: str, value: str, code: str
) -> None:
    line = [word for pair in (options | {option: value}).items() for word in pair]
    ended = CliRunner().invoke(app, ["join", *line, "--json"])
    assert ended.exit_code == 1
    assert json.loads(ended.stdout.splitlines()[-1])["code"] == code


def test_head_refuses_an_address_that_cannot_be_joined(tmp_path: Path) -> None:
    line = ["head", "--address", "127.0.0.1:6379", "--token-file", str(tmp_path / "token")]
    ended = CliRunner().invoke(app, line)
    assert ended.exit_code == 1
    assert "address_unjoinable" in ended.stderr


@pytest.mark.parametrize("command", ["head", "join"])
def test_help_teaches(command: str) -> None:
    ended = CliRunner().invoke(app, [command, "--help"])
    assert ended.exit_code == 0
    assert f"aios worker {command}" in ended.stdout
