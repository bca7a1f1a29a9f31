"""A node's configuration, genesis and keys: whatever is wrong is named, with its code."""

import json
from pathlib import Path

import pytest

from p2p_aios.codec import schema
from p2p_aios.crypto.keystore import save_keystore
from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.node.config import (
    KEEP_BLOCKS_MIN,
    ComputeSection,
    NetworkSection,
    NodeConfig,
    NodeSection,
    load_config,
)
from p2p_aios.node.identity import load_genesis, load_identity
from p2p_aios.rpc.config import RpcLimits
from tests.node.founders import Founders, key

LEAST = """
[node]
genesis = "genesis.json"
data = "data"
peer_key = "peer.pem"

[network]
listen = "/ip4/127.0.0.1/tcp/0"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text)
    return path


def code_of(folder: Path, text: str) -> str:
    with pytest.raises(AiosError) as caught:
        load_config(write(folder, text))
    return f"{caught.value.kind} {caught.value.code}: {caught.value.message}"


def test_the_least_configuration_has_the_defaults(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, LEAST))
    assert config.node.data == tmp_path / "data", "paths are relative to the file"
    assert config.node.validator_key is None
    assert config.network.peers == ()
    assert config.rpc.address == ("127.0.0.1", 8645)
    assert config.compute is None
    assert config.log.format == "text"


def test_every_section_is_read(tmp_path: Path) -> None:
    config = load_config(
        write(
            tmp_path,
            LEAST
            + 'peers = ["/ip4/127.0.0.1/tcp/1/p2p/16U"]\n'
            + '[rpc]\nlisten = "[::1]:0"\ntoken = "sixteen letters."\n'
            + "[rpc.limits]\ncalls_per_s = 7\ncalls_burst = 70\nlimits_loopback = true\n"
            + '[compute]\nray_address = "127.0.0.2:1"\nray_token_file = "/token"\nnode_ip = "::1"\n'
            + "[store]\nkeep_blocks = 0\nblob_quota_bytes = 1\n"
            + '[log]\nlevel = "DEBUG"\nformat = "json"\n',
        )
    )
    assert config.network == NetworkSection(
        "/ip4/127.0.0.1/tcp/0", ("/ip4/127.0.0.1/tcp/1/p2p/16U",)
    )
    assert config.rpc.address == ("::1", 0)
    assert config.rpc.token == "sixteen letters."
    assert config.rpc.limits == RpcLimits(calls_per_s=7, calls_burst=70, limits_loopback=True)
    assert config.compute == ComputeSection("127.0.0.2:1", Path("/token"), "::1")
    assert (config.store.keep_blocks, config.log.level) == (0, "DEBUG")
    assert config.log.format == "json"


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ("typo = 1", "invalid unknown_config_key: unknown network.typo"),
        ("[nodes]", "invalid unknown_config_key: unknown nodes"),
        ("[compute]\nnode_ip = '::1'", "invalid config_missing_key: compute.ray_address"),
        ("[rpc]\nlisten = 8645", "invalid config_malformed: rpc.listen must be of type str"),
        ("[rpc]\nlisten = 'localhost'", "invalid config_malformed: rpc.listen is 'localhost'"),
        ("[rpc]\nlisten = ':8645'", "invalid config_malformed: rpc.listen"),
        ("[rpc]\nlisten = 'localhost:99999'", "invalid config_malformed: rpc.listen"),
        ("[rpc]\nlisten = 'localhost:http'", "invalid config_malformed: rpc.listen"),
        ("[rpc]\ntoken = 'secret'", "invalid config_out_of_range: rpc.token has 6 characters; "),
        ("[rpc.limits]\ncalls = 7", "invalid unknown_config_key: unknown rpc.limits.calls; known"),
        (
            "[rpc.limits]\ncalls_per_s = 0",
            "invalid config_out_of_range: rpc.limits.calls_per_s is 0; allowed are 1 to 1000000",
        ),
        (
            "[rpc.limits]\nconnections_max = 65537",
            "invalid config_out_of_range: rpc.limits.connections_max is 65537; allowed are 1 to",
        ),
        (
            "[rpc.limits]\ncalls_burst = 10.5",
            "invalid config_malformed: rpc.limits.calls_burst must be of type int",
        ),
        (
            "[rpc.limits]\nlimits_loopback = 'yes'",
            "invalid config_malformed: rpc.limits.limits_loopback must be of type bool",
        ),
        ("peers = 'one'", "invalid config_malformed: network.peers must be a list of strings"),
        ("peers = [1]", "invalid config_malformed: network.peers must be a list of strings"),
        ("[store]\nkeep_blocks = 'all'", "invalid config_malformed: store.keep_blocks"),
        ("[store]\nkeep_blocks = true", "invalid config_malformed: store.keep_blocks"),
        (
            f"[store]\nkeep_blocks = {KEEP_BLOCKS_MIN - 1}",
            "invalid config_out_of_range: store.keep_blocks",
        ),
        ("[store]\nkeep_blocks = -1", "invalid config_out_of_range: store.keep_blocks"),
        ("[store]\nblob_quota_bytes = 0", "invalid config_out_of_range: store.blob_quota_bytes"),
        ("[log]\nlevel = 'loud'", "invalid config_out_of_range: log.level"),
        ("[log]\nformat = 'xml'", "invalid config_out_of_range: log.format"),
        ("[log]\nlevel", "invalid config_malformed: "),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, addition: str, expected: str) -> None:
    assert code_of(tmp_path, LEAST + addition).startswith(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "invalid config_missing_key: network"),
        ("network = 1\nnode = 2", "invalid config_malformed: network must be a table"),
        (LEAST.replace('data = "data"', ""), "invalid config_missing_key: node.data is missing"),
        (LEAST.replace('"data"', "3"), "invalid config_malformed: node.data must be of type str"),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, text: str, expected: str) -> None:
    assert code_of(tmp_path, text).startswith(expected)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="config_missing") as caught:
        load_config(tmp_path / "absent.toml")
    assert "aios node init" in caught.value.message
    with pytest.raises(Unavailable, match="config_unreadable"):
        load_config(tmp_path)
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(Invalid, match="config_malformed"):
        load_config(binary)


def test_a_genesis_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "genesis.json"
    genesis = Founders().genesis
    path.write_text(json.dumps(schema.to_json(genesis)))
    assert load_genesis(path) == genesis


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", "genesis_malformed"),
        (b"\xff", "genesis_malformed"),
        (b"[" * 100_000, "genesis_malformed"),
        (b"3", "schema_mismatch"),
        (b"{}", "schema_mismatch"),
        (b" " * ((16 << 20) + 1), "genesis_malformed"),
    ],
)
def test_a_genesis_that_is_none(tmp_path: Path, text: bytes, code: str) -> None:
    path = tmp_path / "genesis.json"
    path.write_bytes(text)
    with pytest.raises(Invalid, match=code):
        load_genesis(path)


def test_a_genesis_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="genesis_missing"):
        load_genesis(tmp_path / "absent.json")
    with pytest.raises(Unavailable, match="genesis_unreadable"):
        load_genesis(tmp_path)


def config_with(folder: Path, *, validator: bool, passphrase: bytes | None) -> NodeConfig:
    file = None
    if passphrase is not None:
        file = folder / "passphrase"
        file.write_bytes(passphrase)
    node = NodeSection(
        folder, folder, folder / "peer.pem", folder / "v.pem" if validator else None, file
    )
    return NodeConfig(node, NetworkSection("/ip4/127.0.0.1/tcp/0"))


def test_keys_are_opened(tmp_path: Path) -> None:
    save_keystore(tmp_path / "peer.pem", key("peer"), "open sesame")
    save_keystore(tmp_path / "v.pem", key("v"), "open sesame")
    locked = config_with(tmp_path, validator=True, passphrase=b"open sesame\nand a second line\n")
    identity = load_identity(locked)
    assert identity.peer == key("peer")
    assert identity.validator == key("v")
    follower = config_with(tmp_path, validator=False, passphrase=b"open sesame")
    assert load_identity(follower).validator is None


@pytest.mark.parametrize(
    ("passphrase", "code"),
    [
        (None, "passphrase_required"),
        (b"", "passphrase_missing"),
        (b"\nsecond", "passphrase_missing"),
        (b"\xff", "passphrase_missing"),
        (b"wrong", "passphrase_wrong"),
    ],
)
def test_a_passphrase_that_does_not_open(
    tmp_path: Path, passphrase: bytes | None, code: str
) -> None:
    save_keystore(tmp_path / "peer.pem", key("peer"), "open sesame")
    with pytest.raises(Invalid, match=code):
        load_identity(config_with(tmp_path, validator=False, passphrase=passphrase))


def test_a_passphrase_file_that_is_not_there(tmp_path: Path) -> None:
    save_keystore(tmp_path / "peer.pem", key("peer"), "open sesame")
    config = config_with(tmp_path, validator=False, passphrase=b"x")
    assert config.node.passphrase_file is not None
    config.node.passphrase_file.unlink()
    with pytest.raises(Unavailable, match="passphrase_unreadable"):
        load_identity(config)
