"""Making the folder of a testnet: keys, genesis, node configurations, contributors' data.

The plan is written last, so a folder with a plan is whole.
"""

import secrets
import shutil
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

import tomlkit

from p2p_aios.codec import schema
from p2p_aios.crypto.keystore import generate_key, save_keystore
from p2p_aios.errors import Invalid
from p2p_aios.network.identity import address_of, peer_id_of
from p2p_aios.units import Address, Amount
from testnet.digits import write_digits
from testnet.genesis import (
    DORMANT_SAT,
    TREASURY_BALANCE,
    WALLET_BALANCE,
    WORKING_BALANCE,
    ValidatorKeys,
    make_genesis,
    make_validator_keys,
    params_of,
)
from testnet.layout import (
    WALLETS,
    Layout,
    NodePlan,
    Plan,
    RayPlan,
    WorkerPlan,
    read_plan,
    write_json,
    write_plan,
    write_text,
)
from testnet.ports import choose_ports

NODES_MAX: Final = 64
"""Seats of a committee; one machine is full long before."""
WORKERS_MAX: Final = 128
"""Each takes a loopback address of its own in one /24."""
HEAD_HOST: Final = 2
"""Last part of the Ray head's loopback address; workers follow."""
OWN_ENTRIES: Final = (
    "testnet.json", "genesis.json", "state.json", "supervisor.lock",
    "keys", "nodes", "workers", "digits", "ray", "logs",
)  # fmt: skip
"""What a testnet puts into its folder, and all that is ever removed from it."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What to create, as `aios testnet up` was asked."""

    nodes: int = 4
    workers: int = 3
    preset: str = "fast"
    has_ray: bool = True
    """Without it: no head, no workers, no gateways."""
    dormant_sat: int = DORMANT_SAT
    funds: tuple[tuple[Address, Amount], ...] = ()
    """Further accounts with what genesis gives them."""


def create(layout: Layout, wish: Wish) -> Plan:
    """Fill an empty folder; returns the plan.

    Raises Invalid: `testnet_size`, `unknown_preset`, `testnet_exists`, `testnet_folder_foreign`;
    Unavailable(`ports_exhausted`).
    """
    params = params_of(wish.preset)
    _check_size(wish)
    _clear_half_made(layout)
    plan = _make_plan(wish)
    validators = {node.name: make_validator_keys() for node in plan.nodes}
    wallets = {name: generate_key() for name in WALLETS}
    workers = {worker.name: generate_key() for worker in plan.workers}
    balances = {
        key.address: TREASURY_BALANCE if name == "treasury" else WALLET_BALANCE
        for name, key in wallets.items()
    } | {key.address: WORKING_BALANCE for key in workers.values()}
    balances |= dict(wish.funds)
    founders = tuple(validators.values())
    genesis = make_genesis(f"testnet-{plan.id[:8]}", params, founders, balances, wish.dormant_sat)
    write_json(layout.genesis_file, schema.to_json(genesis))
    for name, key in wallets.items():
        save_keystore(layout.wallet(name), key, None)
    for worker in plan.workers:
        save_keystore(layout.worker(worker.name) / "key.pem", workers[worker.name], None)
    for node in plan.nodes:
        _write_node(layout, plan, node, validators)
    if plan.ray is not None:
        write_text(layout.ray_token, secrets.token_hex(32), mode=0o600)
        write_digits(layout, plan)
    write_plan(layout, plan)
    return plan


def remove(layout: Layout) -> None:
    """Delete a testnet that is not running: chain, keys and all."""
    for name in OWN_ENTRIES:
        path = layout.root / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _make_plan(wish: Wish) -> Plan:
    ports = iter(choose_ports(2 * wish.nodes + 1))
    nodes = tuple(
        NodePlan(f"node-{number}", next(ports), next(ports)) for number in range(wish.nodes)
    )
    testnet_id = secrets.token_hex(8)
    if not wish.has_ray:
        return Plan(testnet_id, wish.preset, nodes, (), None)
    network = _loopback_network()
    workers = tuple(
        WorkerPlan(
            f"worker-{number}",
            f"{network}.{HEAD_HOST + 1 + number}",
            nodes[number % wish.nodes].name,
        )
        for number in range(wish.workers)
    )
    head = RayPlan(f"{network}.{HEAD_HOST}", next(ports))
    return Plan(testnet_id, wish.preset, nodes, workers, head)


def _loopback_network() -> str:
    """A /24 of 127.0.0.0/8, by chance: two testnets of one machine rarely share addresses."""
    return f"127.{1 + secrets.randbelow(254)}.{1 + secrets.randbelow(254)}"


def _check_size(wish: Wish) -> None:
    if not 1 <= wish.nodes <= NODES_MAX or not 0 <= wish.workers <= WORKERS_MAX:
        raise Invalid(
            "testnet_size", f"a testnet has 1..{NODES_MAX} nodes and 0..{WORKERS_MAX} workers"
        )


def _clear_half_made(layout: Layout) -> None:
    """Make way where an earlier creation was cut short; touch nothing that is not ours."""
    if layout.plan_file.exists():
        raise Invalid("testnet_exists", f"{layout.root} already holds a testnet")
    if not layout.root.exists():
        return
    foreign = sorted(entry.name for entry in layout.root.iterdir() if not _is_own(entry))
    if foreign:
        raise Invalid(
            "testnet_folder_foreign",
            f"{layout.root} holds other things ({foreign[0]}); name an empty folder by --dir",
        )
    remove(layout)


def _is_own(entry: Path) -> bool:
    return entry.name in OWN_ENTRIES or entry.name.startswith(".")


def _write_node(
    layout: Layout, plan: Plan, node: NodePlan, validators: dict[str, ValidatorKeys]
) -> None:
    folder = layout.node(node.name)
    keys = validators[node.name]
    save_keystore(folder / "owner.pem", keys.owner, None)
    save_keystore(folder / "validator.pem", keys.validator, None)
    save_keystore(folder / "peer.pem", keys.peer, None)
    peers = [
        address_of(_listen(other), peer_id_of(validators[other.name].peer.secret))
        for other in plan.nodes
        if other != node
    ]
    write_text(folder / "config.toml", tomlkit.dumps(_config(plan, node, peers)))


def _config(plan: Plan, node: NodePlan, peers: list[str]) -> dict[str, Any]:
    config: dict[str, Any] = {
        "node": {
            "genesis": "../../genesis.json",
            "data": "data",
            "validator_key": "validator.pem",
            "peer_key": "peer.pem",
        },
        "network": {"listen": _listen(node), "peers": peers},
        "rpc": {"listen": f"127.0.0.1:{node.rpc_port}"},
    }
    if plan.ray is not None:
        config["compute"] = {
            "ray_address": f"{plan.ray.ip}:{plan.ray.port}",
            "ray_token_file": "../../ray/token",
            "node_ip": plan.ray.ip,
        }
    return config


def _listen(node: NodePlan) -> str:
    return f"/ip4/127.0.0.1/tcp/{node.p2p_port}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What of a `Wish` somebody named; None: whatever is there, or the default."""

    nodes: int | None = None
    workers: int | None = None
    preset: str | None = None
    has_ray: bool | None = None


def prepare(layout: Layout, asked: Asked) -> Plan:
    """The plan of the folder's testnet, which is made if there is none.

    Raises as `create` does, and Invalid(`testnet_differs`) where another one is there: a chain's
    size is part of its genesis.
    """
    named = {field.name: getattr(asked, field.name) for field in fields(asked)}
    named = {name: value for name, value in named.items() if value is not None}
    if not layout.plan_file.exists():
        return create(layout, Wish(**named))
    plan = read_plan(layout)
    found = {
        "nodes": len(plan.nodes),
        "workers": len(plan.workers),
        "preset": plan.preset,
        "has_ray": plan.ray is not None,
    }
    if {**found, **named} != found:
        raise Invalid(
            "testnet_differs",
            f"{layout.root} holds a testnet of {found['nodes']} nodes and {found['workers']} "
            f"workers, preset {plan.preset}{'' if plan.ray else ', without Ray'}; leave the "
            "options out to start it, or make another with --fresh (its chain is lost) or --dir",
        )
    return plan
