"""Folders, tokens and addresses of a cluster."""

from pathlib import Path

import pytest
import trio

from compute.environment import (
    SECRET_VARIABLES,
    check_token,
    claim_folder,
    ensure_token,
    is_listening,
    parse_host_port,
    set_environment,
    short_folder,
)
from compute.head import HeadConfig, run_head
from p2p_aios.errors import Invalid, Unavailable


def test_a_token_is_private_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "token"
    with pytest.raises(Unavailable) as caught:
        check_token(path)
    assert caught.value.code == "ray_token_missing"
    ensure_token(path)
    first = path.read_text()
    ensure_token(path)
    assert path.read_text() == first
    assert len(first) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    check_token(path)
    assert list(path.parent.iterdir()) == [path]


def test_a_token_cut_short_or_open_to_others_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.touch(mode=0o600)
    with pytest.raises(Unavailable) as missing:
        check_token(path)
    assert missing.value.code == "ray_token_missing"
    path.write_text("secret")
    for mode in (0o640, 0o604):
        path.chmod(mode)
        for check in (check_token, ensure_token):
            with pytest.raises(Invalid) as exposed:
                check(path)
            assert exposed.value.code == "ray_token_exposed"


def test_a_short_folder_is_short_private_and_steady(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 120)
    short = short_folder(deep)
    try:
        assert len(str(short)) < 40
        assert short == short_folder(deep)
        assert short != short_folder(tmp_path)
        short.chmod(0o755)
        with pytest.raises(Invalid) as caught:
            short_folder(deep)
        assert caught.value.code == "folder_unsafe"
    finally:
        short.rmdir()
        short_folder(tmp_path).rmdir()


def test_a_folder_is_claimed_once_and_never_one_with_files_of_others(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "ray"
    claim_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    (folder / "session_2026").mkdir()
    folder.chmod(0o777)  # as Ray does
    claim_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    treasure = tmp_path / "home" / "treasure"
    treasure.parent.mkdir(mode=0o700)
    treasure.touch()
    with pytest.raises(Invalid) as caught:
        claim_folder(treasure.parent)
    assert caught.value.code == "folder_unsafe"


def test_a_head_deletes_no_files_of_others(tmp_path: Path) -> None:
    """Its folder is removed at the end, however it ends."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (home / "treasure").touch()
    config = HeadConfig("127.0.0.2:1", tmp_path / "token", home, tmp_path / "log")
    with pytest.raises(Invalid):
        trio.run(run_head, config, print)
    assert (home / "treasure").exists()


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:x"])
def test_malformed_addresses_are_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_host_port(text)
    assert caught.value.code == "address_malformed"


def test_nobody_listens_at_port_1() -> None:
    assert not is_listening("127.0.0.2:1")


def test_settings_never_leave_a_cluster_open(tmp_path: Path) -> None:
    variables = {"RAY_AUTH_MODE": "disabled", "RAY_ADDRESS": "auto", "RAY_AUTH_TOKEN": "stale"}
    variables |= {"AIOS_PASSPHRASE": "opens the key", "AIOS_TOKEN": "opens the node"}
    set_environment(variables, tmp_path / "token")
    assert variables["RAY_AUTH_MODE"] == "token"
    assert variables["RAY_AUTH_TOKEN_PATH"] == str(tmp_path / "token")
    assert variables["OMP_NUM_THREADS"] == "1"
    assert "RAY_ADDRESS" not in variables
    assert not variables.keys() & set(SECRET_VARIABLES)
    assert "RAY_AUTH_TOKEN" not in variables
