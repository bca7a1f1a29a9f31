"""A testnet's folder: whole, private, and as the node reads it."""

import json
import socket
import stat
import time
from pathlib import Path

import numpy as np
import pytest

from compute.parameters import read_model
from compute.shard import read_shard
from p2p_aios.codec.cid import matches
from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.network.identity import parse_address, peer_id_of
from p2p_aios.node.config import load_config
from p2p_aios.types.genesis import chain_id, genesis_from_json
from testnet.creation import Asked, Wish, create, prepare, remove
from testnet.digits import digits_task
from testnet.layout import Layout, layout_at, read_plan, runtime_folder
from testnet.ports import choose_ports, is_free, require_free


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    layout = layout_at(tmp_path_factory.mktemp("made") / "net")
    create(layout, Wish(nodes=4, workers=3, preset="fast"))
    return layout


def test_the_plan_reads_back_as_it_was_made(made: Layout) -> None:
    plan = read_plan(made)
    assert plan.service_names() == (
        "node-0", "node-1", "node-2", "node-3", "ray-head", "worker-0", "worker-1", "worker-2",
    )  # fmt: skip
    assert [worker.home for worker in plan.workers] == ["node-0", "node-1", "node-2"]
    assert len(set(plan.ports().values())) == 9
    assert plan.ray is not None
    assert len({plan.ray.ip, *(worker.ray_ip for worker in plan.workers)}) == 4


def test_every_node_can_read_its_configuration(made: Layout) -> None:
    plan = read_plan(made)
    for node in plan.nodes:
        config = load_config(made.node(node.name) / "config.toml")
        assert config.node.genesis.resolve() == made.genesis_file
        assert config.compute is not None
        assert config.compute.ray_token_file.resolve() == made.ray_token
        assert config.node.validator_key is not None
        load_keystore(config.node.validator_key, None)
        others = {parse_address(text).peer for text in config.network.peers}
        own = peer_id_of(load_keystore(config.node.peer_key, None).secret)
        assert len(others) == 3
        assert own not in others


def test_genesis_names_the_nodes_and_funds_everyone(made: Layout) -> None:
    genesis = genesis_from_json(json.loads(made.genesis_file.read_text()))
    assert len(chain_id(genesis)) == 32
    assert abs(genesis.timestamp_ms - time.time() * 1000) < 60_000
    funded = {account.address: account.balance for account in genesis.accounts}
    plan = read_plan(made)
    for node, founder in zip(plan.nodes, genesis.validators, strict=True):
        keys = {
            name: load_keystore(made.node(node.name) / f"{name}.pem", None)
            for name in ("owner", "validator", "peer")
        }
        assert founder.owner == keys["owner"].address
        assert founder.public_key == keys["validator"].public_key
        assert founder.peer_id == peer_id_of(keys["peer"].secret)
        assert len({key.secret for key in keys.values()}) == 3
        assert funded[keys["owner"].address] > 0
        assert funded[keys["validator"].address] > 0
    for worker in plan.workers:
        assert funded[load_keystore(made.worker(worker.name) / "key.pem", None).address] > 0
    for wallet in ("treasury", "alice", "bob"):
        assert funded[load_keystore(made.wallet(wallet), None).address] > 0


def test_secrets_are_for_the_owner_only(made: Layout) -> None:
    secret_files = [*made.root.rglob("*.pem"), made.ray_token]
    assert len(secret_files) == 4 * 3 + 3 + 3 + 1
    for path in secret_files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_digits_are_split_and_the_task_names_the_blobs(made: Layout) -> None:
    plan = read_plan(made)
    task = digits_task(made, plan, rounds=20)
    assert matches(task.base, made.base_model.read_bytes())
    assert matches(task.test_shard, made.test_shard.read_bytes())
    assert read_model(made.base_model.read_bytes(), task.model).shape == (64 * 64 + 64 + 650,)
    test_rows = len(read_shard(made.test_shard.read_bytes(), 64, 10).labels)
    parts = [np.load(made.worker(worker.name) / "data.npz") for worker in plan.workers]
    assert sum(len(part["y"]) for part in parts) + test_rows == 1797
    assert all(part["x"].shape == (len(part["y"]), 64) for part in parts)
    shares = [np.bincount(part["y"], minlength=10) / len(part["y"]) for part in parts]
    assert max(np.abs(a - b).max() for a in shares for b in shares) > 0.1, "unevenly, by class"


def test_without_ray_there_are_nodes_only(tmp_path: Path) -> None:
    layout = layout_at(tmp_path / "net")
    plan = create(layout, Wish(nodes=1, workers=3, has_ray=False))
    assert plan.service_names() == ("node-0",)
    config = load_config(layout.node("node-0") / "config.toml")
    assert config.compute is None
    assert config.network.peers == ()


def test_a_testnet_is_not_made_over_another_nor_over_foreign_files(tmp_path: Path) -> None:
    layout = layout_at(tmp_path / "net")
    wish = Wish(nodes=1, has_ray=False)
    before = create(layout, wish)
    with pytest.raises(Invalid) as refusal:
        create(layout, wish)
    assert refusal.value.code == "testnet_exists"
    layout.plan_file.unlink()
    assert create(layout, wish).id != before.id, "a half-made folder is made anew"
    remove(layout)
    (layout.root / "thesis.txt").write_text("years of work")
    with pytest.raises(Invalid) as refusal:
        create(layout, wish)
    assert refusal.value.code == "testnet_folder_foreign"
    assert (layout.root / "thesis.txt").exists()


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        (Wish(nodes=0), "testnet_size"),
        (Wish(nodes=65), "testnet_size"),
        (Wish(workers=-1), "testnet_size"),
        (Wish(preset="moonnet"), "unknown_preset"),
    ],
)
def test_impossible_wishes_are_refused(tmp_path: Path, wish: Wish, code: str) -> None:
    with pytest.raises(Invalid) as refusal:
        create(layout_at(tmp_path / "net"), wish)
    assert refusal.value.code == code
    assert not (tmp_path / "net").exists()


def test_another_size_in_the_same_folder_is_refused(made: Layout) -> None:
    assert prepare(made, Asked()) == read_plan(made)
    assert prepare(made, Asked(4, 3, "fast", True)) == read_plan(made)
    for asked in (Asked(nodes=5), Asked(workers=2), Asked(preset="mainnet"), Asked(has_ray=False)):
        with pytest.raises(Invalid) as refusal:
            prepare(made, asked)
        assert refusal.value.code == "testnet_differs"


def test_missing_and_damaged_plans_have_their_codes(tmp_path: Path) -> None:
    layout = layout_at(tmp_path)
    with pytest.raises(Invalid) as missing:
        read_plan(layout)
    assert missing.value.code == "testnet_missing"
    for damaged in ("{", "[]", '{"id": "1"}'):
        layout.plan_file.write_text(damaged)
        with pytest.raises(Corrupt) as corrupt:
            read_plan(layout)
        assert corrupt.value.code == "testnet_plan_corrupt"


def test_unix_sockets_fit_into_the_runtime_folder(made: Layout) -> None:
    assert len(str(runtime_folder(read_plan(made)))) < 60


def test_ports_are_different_and_free() -> None:
    ports = choose_ports(8)
    assert len(set(ports)) == 8
    assert all(is_free(port) for port in ports)
    require_free({f"port {port}": port for port in ports})


def test_a_taken_port_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable) as refusal:
            require_free({"node-0 rpc": port})
    assert refusal.value.code == "testnet_port_taken"
    assert refusal.value.details == {"port": port, "purpose": "node-0 rpc"}
