"""A contributor: agent, raylet and actor, kept joined to an operator's cluster; `aios worker join`.

The key and the data stay in this process, which never imports ray. When the head restarts, or the
raylet dies, the raylet is started again and the actor made anew; the agent lives through it.
"""

import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from compute.agent import Agent, Policy
from compute.agent_socket import open_agent_socket
from compute.environment import AGENT_SOCKET, check_token, claim_folder, is_raylet_up
from compute.local_data import load_local_data
from compute.raylet import (
    PAUSE_S,
    PAUSE_S_MAX,
    POLL_S,
    Raylet,
    RayletConfig,
    raylet_environment,
    run_until_signalled,
    supervise_raylet,
    wait_for_port,
    worker_arguments,
)
from compute.registration import Offer, register
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.sdk.client import Client

JOINING_SECONDS_MAX: Final = 90.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    ray_address: str
    """host:port of the cluster's head."""
    node_ip: str
    """This machine's address in the cluster."""
    token_file: Path
    folder: Path
    """Committed updates; must outlive crashes."""
    ray_folder: Path
    """Private and short; removed at the end."""
    log_file: Path
    data: Path
    """.npz with x and y."""
    policy: Policy
    rpc_url: str | None
    """Node through which to register; None: the owner registers by other means."""
    rpc_token: str | None
    """Bearer token of that node."""
    offer: Offer


@dataclass(frozen=True, slots=True)
class Notices:
    """Who is told of progress."""

    joined: Callable[[float], None]
    """Seconds from the start of the raylet to an actor that answers."""
    registered: Callable[[], None]


async def run_worker(config: WorkerConfig, key: KeyPair, notices: Notices) -> None:
    """Contribute until SIGTERM or SIGINT.

    Raises Invalid or Unavailable for a configuration that cannot work: codes of
    `load_local_data`, `check_token`, `claim_folder`, `register`.
    """
    check_token(config.token_file)
    claim_folder(config.ray_folder)
    data = await trio.to_thread.run_sync(load_local_data, config.data)
    agent = Agent(key, config.policy, data, config.folder)
    socket_path = config.ray_folder / "agent.sock"
    raylet_config = RayletConfig(
        config.ray_folder,
        config.node_ip,
        config.token_file,
        config.log_file,
        variables={AGENT_SOCKET: str(socket_path)},
    )
    name = format_address(key.address)
    arguments = worker_arguments(raylet_config, config.ray_address, name)
    raylet = Raylet(raylet_config, arguments, watched="raylet")
    has_joined = trio.Event()

    async def wait_for_head() -> None:
        await wait_for_port(config.ray_address)

    async def join() -> None:
        begun_s = time.monotonic()
        await _join(config, raylet_config, name)
        has_joined.set()
        notices.joined(time.monotonic() - begun_s)

    async def work() -> None:
        async with open_agent_socket(agent, socket_path), trio.open_nursery() as nursery:
            if config.rpc_url is not None:
                nursery.start_soon(_register, config, agent, has_joined, notices)
            await supervise_raylet(raylet, wait_for_head, join)

    try:
        await run_until_signalled(work)
    finally:
        shutil.rmtree(config.ray_folder, ignore_errors=True)


async def _join(config: WorkerConfig, raylet_config: RayletConfig, name: str) -> None:
    """Have the actor made by a short-lived driver, as often as it takes."""
    command = [sys.executable, "-m", "compute.joining", config.ray_address, config.node_ip, name]
    environment = raylet_environment(raylet_config)
    # A driver that comes too early only burns the time that the raylet needs to start.
    while not is_raylet_up(config.ray_folder):
        await trio.sleep(POLL_S)
    pause_s = PAUSE_S
    while True:
        with trio.move_on_after(JOINING_SECONDS_MAX), config.log_file.open("ab") as output:
            ended = await trio.run_process(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                start_new_session=True,
            )
            if ended.returncode == 0:
                return
        log.warning("the actor is not there yet; next try in %.1f s", pause_s)
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S_MAX)


async def _register(
    config: WorkerConfig, agent: Agent, has_joined: trio.Event, notices: Notices
) -> None:
    # Seats are given to whom the chain lists, so the cluster must reach us first.
    await has_joined.wait()
    assert config.rpc_url is not None
    async with Client(config.rpc_url, config.rpc_token) as client:
        await register(agent, client, config.offer)
    notices.registered()
