"""`aios db` on the data folder of a node that does not run."""

import json
from pathlib import Path

import pytest

from p2p_aios.codec import schema
from p2p_aios.crypto.keystore import save_keystore
from p2p_aios.store.chain import KIND, VERSION
from p2p_aios.store.lmdb import open_environment
from p2p_aios.store.snapshot import STATE, TABLES
from tests.cli.conftest import Run
from tests.node.founders import Founders, key

CONFIG = """
[node]
genesis = "genesis.json"
data = "data"
peer_key = "peer.pem"
[network]
listen = "/ip4/127.0.0.1/tcp/0"
"""
FOUNDERS = Founders(1)


@pytest.fixture
async def config(tmp_path: Path) -> str:
    """A stopped node with a few blocks."""
    folder = tmp_path / "node"
    folder.mkdir()
    (folder / "node.toml").write_text(CONFIG)
    (folder / "genesis.json").write_text(json.dumps(schema.to_json(FOUNDERS.genesis)))
    save_keystore(folder / "peer.pem", key("peer 0"), None)
    async with FOUNDERS.open_chain(folder / "data" / "chain") as chain:
        await FOUNDERS.history(chain, 5)
    return str(folder / "node.toml")


async def test_a_sound_chain_is_told_and_compacted(run: Run, config: str) -> None:
    told = run("db", "check", "--config", config, "--json").json
    assert (told["verdict"], told["height"], told["blocks"]) == ("sound", 5, 6)
    assert "sound" in run("db", "check", "--config", config).out
    done = run("db", "compact", "--config", config, "--json").json
    assert 0 < done["after_bytes"] <= done["before_bytes"]
    assert run("db", "check", "--config", config, "--json").json == told


async def test_damage_ends_with_status_4_and_is_listed(run: Run, config: str) -> None:
    folder = Path(config).parent / "data" / "chain"
    with open_environment(folder, KIND, VERSION, TABLES) as environment:
        environment.write(lambda writer: writer.put(STATE, b"zz", b"forged"))
    ran = run("db", "check", "--config", config)
    assert ran.code == 4
    assert f"error [chain_unsound]: {folder} is damaged; move it away" in ran.err
    assert "keep the journal" in ran.err
    assert "- the state trie lacks 7a7a\n" in ran.out
    fault = run("--json", "db", "check", "--config", config).json["error"]
    assert fault["code"] == "chain_unsound"
    assert fault["problems"][0] == "the state trie lacks 7a7a"


async def test_no_chain_and_a_chain_in_use(run: Run, config: str) -> None:
    folder = Path(config).parent / "data" / "chain"
    with open_environment(folder, KIND, VERSION, TABLES):
        for command in ("check", "compact"):
            ran = run("db", command, "--config", config)
            assert (ran.code, "[store_locked]" in ran.err) == (3, True)
    for file in folder.iterdir():
        file.unlink()
    for command in ("check", "compact"):
        ran = run("db", command, "--config", config)
        assert (ran.code, "[chain_missing]" in ran.err) == (1, True)
        assert list(folder.iterdir()) == []
    assert run("db", "check", "--config", "nowhere.toml").code == 1
