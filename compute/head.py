"""The head of an operator's Ray cluster, kept running; `aios worker head`.

One Ray cluster is one trust domain: whoever holds its token can run code on every machine of it, so
token authentication is always on. The cluster keeps nothing: after a restart the contributors join
again by themselves.
"""

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trio

from compute.environment import claim_folder, ensure_token, is_listening
from compute.raylet import (
    Raylet,
    RayletConfig,
    head_arguments,
    run_until_signalled,
    supervise_raylet,
    wait_for_port,
)
from p2p_aios.errors import Unavailable

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HeadConfig:
    address: str
    """host:port that contributors and gateways join; of this machine, and not 127.0.0.1."""
    token_file: Path
    """Created at need, mode 0600; copy it to who may join."""
    ray_folder: Path
    """Private and short; see `compute.environment.short_folder`. Removed at the end."""
    log_file: Path
    cpus: int = 1


async def run_head(config: HeadConfig, on_ready: Callable[[float], None]) -> None:
    """Keep the head running until SIGTERM or SIGINT; `on_ready` is told the seconds of each start.

    Raises Unavailable(`port_taken`) where something else listens at the address; Invalid:
    `folder_unsafe`, `ray_token_exposed`.
    """
    claim_folder(config.ray_folder)
    node_ip, _, port = config.address.rpartition(":")
    raylet_config = RayletConfig(
        config.ray_folder, node_ip, config.token_file, config.log_file, config.cpus
    )
    raylet = Raylet(
        raylet_config, head_arguments(raylet_config, int(port)), watched="gcs_server,raylet"
    )
    ensure_token(config.token_file)
    # What an earlier run left behind may hold the port: end that first.
    await trio.to_thread.run_sync(raylet.stop)
    if await trio.to_thread.run_sync(is_listening, config.address):
        raise Unavailable("port_taken", f"another program listens at {config.address}")

    async def announce() -> None:
        begun_s = time.monotonic()
        await wait_for_port(config.address)
        on_ready(time.monotonic() - begun_s)

    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    try:
        await run_until_signalled(lambda: supervise_raylet(raylet, nothing, announce))
    finally:
        shutil.rmtree(config.ray_folder, ignore_errors=True)
