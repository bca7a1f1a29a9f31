"""The folder of a testnet: what lies where, and the plan that says which processes it has.

    .testnet/
      testnet.json          the plan: written once, ports included
      genesis.json
      state.json            who runs right now; rewritten by the supervisor
      supervisor.lock       held by the supervisor while it lives
      keys/NAME.pem         treasury, alice, bob
      nodes/NAME/           config.toml, validator.pem, peer.pem, owner.pem, data/
      workers/NAME/         key.pem, data.npz
      digits/               test.shard and base.model of the demo's task
      ray/token             cluster token
      logs/NAME.log

Sockets and Ray's own files lie in a short folder under the system's temporary one: paths of Unix
sockets may not exceed 107 bytes.
"""

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from p2p_aios.errors import Corrupt, Invalid

DEFAULT_ROOT: Final = Path(".testnet")
WALLETS: Final = ("treasury", "alice", "bob")
"""Prefunded accounts that people and the demo spend from."""
SHORT_TEMPORARY: Final = Path("/tmp")
RAY_HEAD: Final = "ray-head"
"""Name of the Ray head among the services."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    name: str
    p2p_port: int
    rpc_port: int

    @property
    def url(self) -> str:
        """Of its RPC."""
        return f"http://127.0.0.1:{self.rpc_port}"


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    name: str
    ray_ip: str
    """Loopback address of its raylet: one machine holds several, each on its own."""
    home: str
    """Name of the node whose gateway reaches it."""


@dataclass(frozen=True, slots=True)
class RayPlan:
    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What a testnet consists of; fixed when its folder is made."""

    id: str
    """16 hex digits; every process of this testnet carries it in its environment."""
    preset: str
    nodes: tuple[NodePlan, ...]
    workers: tuple[WorkerPlan, ...]
    ray: RayPlan | None

    def service_names(self) -> tuple[str, ...]:
        """Every supervised process, in the order in which they start."""
        head = (RAY_HEAD,) if self.ray else ()
        return (*(n.name for n in self.nodes), *head, *(w.name for w in self.workers))

    def ports(self) -> dict[str, int]:
        """Every port it listens on, by what for."""
        ports = {f"{node.name} p2p": node.p2p_port for node in self.nodes}
        ports |= {f"{node.name} rpc": node.rpc_port for node in self.nodes}
        return ports | ({"ray head": self.ray.port} if self.ray else {})


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths of one testnet."""

    root: Path

    @property
    def plan_file(self) -> Path:
        return self.root / "testnet.json"

    @property
    def genesis_file(self) -> Path:
        return self.root / "genesis.json"

    @property
    def state_file(self) -> Path:
        return self.root / "state.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "supervisor.lock"

    @property
    def digits(self) -> Path:
        return self.root / "digits"

    @property
    def test_shard(self) -> Path:
        """Public rows that every validator scores on."""
        return self.digits / "test.shard"

    @property
    def base_model(self) -> Path:
        """Parameters before the first round."""
        return self.digits / "base.model"

    @property
    def ray_token(self) -> Path:
        return self.root / "ray" / "token"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    def wallet(self, name: str) -> Path:
        return self.root / "keys" / f"{name}.pem"

    def node(self, name: str) -> Path:
        return self.root / "nodes" / name

    def worker(self, name: str) -> Path:
        return self.root / "workers" / name

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def layout_at(root: Path) -> Layout:
    return Layout(root.resolve())


def runtime_folder(plan: Plan) -> Path:
    """Short-lived files with short paths; removed when the testnet goes down."""
    return SHORT_TEMPORARY / f"aios-{plan.id}"


def variables(layout: Layout, plan: Plan) -> dict[str, str]:
    """Environment variables that point `aios` at this testnet's first node and alice's wallet, and
    name what `aios worker join` asks for."""
    found = {"AIOS_RPC": plan.nodes[0].url, "AIOS_KEY": str(layout.wallet("alice"))}
    if plan.ray is not None:
        found["AIOS_RAY_ADDRESS"] = f"{plan.ray.ip}:{plan.ray.port}"
        found["AIOS_RAY_TOKEN_FILE"] = str(layout.ray_token)
    return found


def write_plan(layout: Layout, plan: Plan) -> None:
    write_json(layout.plan_file, asdict(plan))


def read_plan(layout: Layout) -> Plan:
    """Raises Invalid(`testnet_missing`), Corrupt(`testnet_plan_corrupt`)."""
    try:
        value = json.loads(layout.plan_file.read_text())
    except FileNotFoundError:
        raise Invalid(
            "testnet_missing",
            f"no testnet in {layout.root}; `aios testnet up` makes one, --dir names another",
        ) from None
    except ValueError as error:
        raise _corrupt(layout, error) from None
    try:
        return _plan_of(value)
    except (KeyError, TypeError, AttributeError) as error:
        raise _corrupt(layout, error) from None


def _plan_of(value: dict[str, Any]) -> Plan:
    return Plan(
        id=str(value["id"]),
        preset=str(value["preset"]),
        nodes=tuple(NodePlan(**node) for node in value["nodes"]),
        workers=tuple(WorkerPlan(**worker) for worker in value["workers"]),
        ray=RayPlan(**value["ray"]) if value["ray"] else None,
    )


def _corrupt(layout: Layout, error: Exception) -> Corrupt:
    return Corrupt(
        "testnet_plan_corrupt",
        f"{layout.plan_file} is damaged ({error}); `aios testnet up --fresh` starts anew",
    )


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by `value` in one step: a reader sees the old or the new, never half."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def write_text(path: Path, text: str, mode: int = 0o644) -> None:
    """Replace `path` by `text` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as file:
        file.write(text)
    os.replace(partial, path)
