"""The processes of a testnet, as command lines: nodes, then the Ray head, then workers.

All are this Python running AIOS's own modules; nothing is found by PATH.
"""

import json
import os
import sys
from typing import Final

from p2p_aios.errors import Corrupt, Invalid
from p2p_aios.types.genesis import chain_id, genesis_from_json
from p2p_aios.units import Hash
from testnet.ensemble import Stages
from testnet.layout import RAY_HEAD, Layout, NodePlan, Plan, RayPlan, WorkerPlan, runtime_folder
from testnet.service import ServiceSpec

AIOS: Final = (sys.executable, "-m", "p2p_aios.cli.main")
WORKER: Final = (sys.executable, "-m", "compute.commands")
"""`aios worker`."""
ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""A testnet has more processes than the machine has cores."""
RAY_SETTINGS: Final = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0"}
"""Ray would otherwise start its workers through uv, each with a copy of the working folder."""
FORGOTTEN: Final = (
    "RAY_ADDRESS",
    "RAY_AUTH_TOKEN",
    "AIOS_RPC",
    "AIOS_RAY_ADDRESS",
    "AIOS_RAY_TOKEN_FILE",
)
"""Variables of the user's shell that would lead children elsewhere."""
STOP_S: Final = 12.0
"""From SIGTERM to SIGKILL; what runs a raylet takes up to 8 s to end it."""


def stages_of(layout: Layout, plan: Plan) -> Stages:
    """The Ray head first, as it stops last. All start at once: who needs the head waits for it."""
    nodes = [_node(layout, node) for node in plan.nodes]
    if plan.ray is None:
        return [nodes]
    workers = [_worker(layout, plan, plan.ray, worker) for worker in plan.workers]
    return [[_head(layout, plan, plan.ray)], [*nodes, *workers]]


def _node(layout: Layout, node: NodePlan) -> ServiceSpec:
    folder = layout.node(node.name)
    command = ("node", "run", "--config", str(folder / "config.toml"))
    return _service(layout, node.name, (*AIOS, *command))


def _head(layout: Layout, plan: Plan, ray: RayPlan) -> ServiceSpec:
    command = ("head", "--address", f"{ray.ip}:{ray.port}", *_ray_options(layout, plan, RAY_HEAD))
    return _service(layout, RAY_HEAD, (*WORKER, *command))


def _worker(layout: Layout, plan: Plan, ray: RayPlan, worker: WorkerPlan) -> ServiceSpec:
    folder = layout.worker(worker.name)
    home = next(node for node in plan.nodes if node.name == worker.home)
    options = {
        "--address": f"{ray.ip}:{ray.port}",
        "--node-ip": worker.ray_ip,
        "--key": str(folder / "key.pem"),
        "--data": str(folder / "data.npz"),
        "--folder": str(folder),
        "--chain-id": chain_id_of(layout).hex(),
        "--rpc": home.url,
    }
    named = (word for option in options.items() for word in option)
    command = ("join", *named, *_ray_options(layout, plan, worker.name), "--json")
    return _service(layout, worker.name, (*WORKER, *command))


def _ray_options(layout: Layout, plan: Plan, name: str) -> tuple[str, ...]:
    return (
        "--token-file",
        str(layout.ray_token),
        # Ray's own output goes where the service's goes: one log a name.
        "--log-file",
        str(layout.log(name)),
        "--ray-folder",
        str(runtime_folder(plan) / name),
    )


def _service(layout: Layout, name: str, argv: tuple[str, ...]) -> ServiceSpec:
    kept = {key: value for key, value in os.environ.items() if key not in FORGOTTEN}
    return ServiceSpec(
        name=name,
        argv=argv,
        log=layout.log(name),
        folder=layout.root,
        environment=kept | ONE_THREAD | RAY_SETTINGS,
        stop_s=STOP_S,
    )


def chain_id_of(layout: Layout) -> Hash:
    """Raises Corrupt(`testnet_genesis_corrupt`)."""
    try:
        return chain_id(genesis_from_json(json.loads(layout.genesis_file.read_text())))
    except (OSError, ValueError, Invalid) as error:
        raise Corrupt(
            "testnet_genesis_corrupt",
            f"{layout.genesis_file} is damaged ({error}); `aios testnet up --fresh` starts anew",
        ) from None
