"""Commands that ask a node, against a real server."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_aios.codec import schema
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.network.identity import parse_address
from p2p_aios.node.config import load_config
from p2p_aios.types.genesis import chain_id
from p2p_aios.units import AIOS
from tests.cli.conftest import Node, Run
from tests.rpc.memory_backend import GENESIS, VALIDATOR

PROGRAM = "import sys; from p2p_aios.cli.main import main; sys.exit(main())"
Keys = dict[str, KeyPair]


def test_send_waits_until_final(run: Run, keys: Keys, node: Node) -> None:
    status = run("tx", "send", "bob", "12.5", "--key", "alice", "--json").json
    assert (status["state"], status["receipt"]["code"]) == ("finalized", "ok")
    account = run("account", "show", "bob", "--json").json
    assert account["balance"] == str(12 * AIOS + AIOS // 2)
    assert "12.5 AIOS" in run("account", "show", format_address(keys["bob"].address)).out
    shown = run("tx", "show", status["id"])
    assert "finalized" in shown.out
    assert run("tx", "wait", status["id"], "--json").json == status
    assert node.backend.blocks


@pytest.mark.usefixtures("keys", "node")
def test_send_without_waiting(run: Run) -> None:
    id = run("--json", "tx", "send", "bob", "1", "-k", "alice", "--no-wait").json["id"]
    assert run("tx", "wait", id).code == 0


@pytest.mark.usefixtures("keys", "node")
def test_refusals_of_the_node_have_their_code_and_exit_code(run: Run) -> None:
    poor = run("tx", "send", "alice", "1", "--key", "bob")
    assert (poor.code, poor.out) == (1, "")
    assert poor.err.startswith("error [funds_missing]: ")
    failed = run("--json", "tx", "send", "bob", "5000", "--key", "alice")
    assert (failed.code, failed.json["error"]["code"]) == (1, "funds_missing")
    low = run("tx", "send", "bob", "1", "--key", "alice", "--fee", "0.00000001")
    assert (low.code, "[fee_too_low]" in low.err) == (1, True)
    unknown = run("tx", "show", "00" * 32, "--json")
    assert (unknown.code, unknown.json["error"]["code"]) == (1, "unknown_transaction")
    pending = run("tx", "wait", "00" * 32, "--timeout", "0.1")
    assert (pending.code, "[unknown_transaction]" in pending.err) == (1, True)


def test_no_node(run: Run) -> None:
    ran = run("node", "status", "--rpc", "http://127.0.0.1:9")
    assert (ran.code, ran.out) == (3, "")
    assert "error [node_unreachable]" in ran.err
    assert "is the node running" in ran.err
    ran = run("block", "follow", "--json", "--rpc", "http://127.0.0.1:9")
    assert (ran.code, ran.json["error"]["code"]) == (3, "node_unreachable")


@pytest.mark.parametrize("url", ["ftp://x", "http://", "x:port", "http://a b"])
def test_a_url_that_is_none_is_a_usage_error(
    run: Run, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran = run("node", "status", "--rpc", url)
    assert (ran.code, ran.out) == (2, "")
    assert "error [url_malformed]" in ran.err
    assert "write http://host:port" in ran.err
    assert run("node", "status", "--rpc", url, "--json").json["error"]["code"] == "url_malformed"
    monkeypatch.setenv("AIOS_RPC", url)
    assert run("node", "status").code == 2


def test_listings(run: Run, node: Node) -> None:
    assert run("node", "status", "--json").json["network"] == "memory"
    assert "memory" in run("node", "status", "--rpc", node.url).out
    assert run("node", "peers", "--json").json[0]["peer_id"] == "16Uiu2"
    assert "16Uiu2" in run("node", "peers").out
    (validator,) = run("node", "validators", "--json").json
    assert validator["public_key"] == VALIDATOR.public_key.hex()
    titles, row = map(re.compile(" {3,}").split, run("node", "validators").out.splitlines())
    told = dict(zip(titles, row, strict=True))
    assert (told["address"], told["owner"]) == (validator["address"], validator["owner"])
    assert (told["weight"], told["blocks"], told["wrong attestations"]) == ("100", "3", "0")
    assert run("worker", "list", "--json").json[0]["capacity"] == 2
    assert "train" in run("worker", "list").out
    assert "6550000000 AIOS" in run("account", "supply").out
    assert run("job", "list").out.strip() == "none"
    assert run("learn", "list", "--json").json == []


@pytest.mark.usefixtures("keys", "node")
def test_blocks(run: Run) -> None:
    sent = run("tx", "send", "bob", "1", "--key", "alice", "--json").json
    height = str(sent["height"])
    block = run("block", "show", height, "--transactions", "--events", "--json").json
    assert block["transaction_ids"] == [sent["id"]]
    assert block["outcome"]["receipts"][0]["events"][0]["type"] == "Transferred"
    assert run("block", "show", block["hash"], "--json").json["header"] == block["header"]
    assert "height" in run("block", "show").out
    followed = run("block", "follow", "--count", "3", "--json")
    heights = [json.loads(line)["header"]["height"] for line in followed.out.splitlines()]
    assert heights == list(range(heights[0], heights[0] + 3))
    assert len(run("block", "follow", "-n", "2").out.splitlines()) == 2


def test_genesis_and_address_for_a_node_of_ones_own(run: Run, node: Node, tmp_path: Path) -> None:
    assert node
    file = tmp_path / "genesis.json"
    told = run("node", "genesis", "--out", str(file), "--json").json
    assert told["chain_id"] == chain_id(GENESIS).hex()
    assert run("node", "genesis").json == json.loads(file.read_text())
    listen = ("--listen", "/ip4/127.0.0.1/tcp/9645")
    made = run("node", "init", str(tmp_path / "n"), "--genesis", str(file), *listen, "--json").json
    assert made["chain_id"] == told["chain_id"]
    address = run("node", "address", "--config", made["config"]).out.strip()
    assert address.startswith("/ip4/127.0.0.1/tcp/9645/p2p/16Uiu2")
    assert parse_address(address).address == address
    assert run("node", "address", "-c", made["config"], "--json").json == {"address": address}


def test_init_writes_a_folder_that_the_node_reads(run: Run, tmp_path: Path) -> None:
    genesis = tmp_path / "chain.json"
    genesis.write_text(json.dumps(schema.to_json(GENESIS)))
    folder = tmp_path / "node"
    arguments = ("node", "init", str(folder), "--genesis", str(genesis))
    peer = "/ip4/127.0.0.1/tcp/9/p2p/16Uiu2"
    made = run(*arguments, "--validator", "--peer", peer, "--json").json
    config = load_config(folder / "node.toml")
    assert config.network.peers == (peer,)
    assert config.node.validator_key == folder / "validator.pem"
    assert made["chain_id"] == chain_id(GENESIS).hex()
    assert len(bytes.fromhex(made["validator_public_key"])) == 33
    again = run(*arguments)
    assert (again.code, "[folder_exists]" in again.err) == (1, True)
    genesis.write_text("{")
    refused = run("node", "init", str(tmp_path / "other"), "--genesis", str(genesis))
    assert (refused.code, "[genesis_unreadable]" in refused.err) == (1, True)
    assert not (tmp_path / "other").exists()
    stray = run("node", "init", str(tmp_path / "stray"), "--genesis", str(genesis), "--peer", "x")
    assert (stray.code, "[address_malformed]" in stray.err) == (1, True)
    assert not (tmp_path / "stray").exists()


def test_installed_command_without_a_traceback(home: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "node", "status", "--rpc", "http://127.0.0.1:9"],
        capture_output=True,
        text=True,
        timeout=60,
        env={"AIOS_HOME": str(home), "PATH": ""},
    )
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1


def test_interrupt_ends_follow_quietly(home: Path, node: Node) -> None:
    """Ctrl-C in `block follow` is how people end it."""
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "block", "follow", "--json", "--rpc", node.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"AIOS_HOME": str(home), "PATH": ""},
    )
    try:
        assert child.stdout is not None
        assert json.loads(child.stdout.readline())["header"]["height"] > 0
        child.send_signal(2)
        _, err = child.communicate(timeout=60)
        assert (child.returncode, err) == (130, b"")
    finally:
        child.kill()
        child.wait()


def test_a_reader_that_leaves_ends_a_stream_quietly(node: Node, home: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "block", "follow", "--json", "--rpc", node.url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"AIOS_HOME": str(home), "PATH": ""},
    )
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        child.wait(60)
    finally:
        child.kill()
        child.wait()
