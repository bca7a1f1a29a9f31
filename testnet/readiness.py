"""When a testnet works: every node finalizes, every gateway is up, every worker is on the chain."""

import logging
import time
from collections.abc import Mapping
from typing import Final

import trio

from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import AiosError, Unavailable
from p2p_aios.types.views import GatewayState
from p2p_aios.units import Address
from testnet.ensemble import Ensemble
from testnet.layout import Layout, Plan
from testnet.logs import tail
from testnet.status import Clients, ask_all, open_clients

POLL_S: Final = 0.5
RESTARTS_MAX: Final = 3
"""A child that died more often before the whole was up never comes up."""
LOG_LINES: Final = 12
"""Of such a child's log, for the person who reads the refusal."""
LOG = logging.getLogger("aios.testnet")


async def until_ready(ensemble: Ensemble) -> None:
    """Raises Unavailable(`testnet_failed`) with the log's end of a child that keeps dying."""
    begun_s = time.monotonic()
    told: tuple[str, ...] = ()
    addresses = _worker_addresses(ensemble.layout, ensemble.plan)
    async with open_clients(ensemble.plan) as clients:
        while missing := await _missing(ensemble.plan, clients, addresses):
            _require_hope(ensemble)
            if missing != told:
                LOG.info("%.1f s: waiting for %s", time.monotonic() - begun_s, ", ".join(missing))
                ensemble.wait_for(missing)
                told = missing
            await trio.sleep(POLL_S)
    ensemble.wait_for(())
    LOG.info("ready after %.1f s", time.monotonic() - begun_s)


async def _missing(
    plan: Plan, clients: Clients, addresses: Mapping[Address, str]
) -> tuple[str, ...]:
    """What does not work yet."""
    missing: list[str] = []
    for name, status in (await ask_all(clients)).items():
        if status is None or status.height < 1:
            missing.append(name)
        elif plan.ray is not None and status.gateway is not GatewayState.READY:
            missing.append(f"gateway of {name}")
    if missing or not addresses:
        return tuple(missing)
    try:
        workers = await clients[plan.nodes[0].name].workers()
    except AiosError:
        return tuple(addresses.values())
    on_chain = {worker.address for worker in workers if not worker.is_retired}
    return tuple(name for address, name in addresses.items() if address not in on_chain)


def _worker_addresses(layout: Layout, plan: Plan) -> dict[Address, str]:
    return {
        load_keystore(layout.worker(worker.name) / "key.pem", None).address: worker.name
        for worker in plan.workers
    }


def _require_hope(ensemble: Ensemble) -> None:
    for service in ensemble.services:
        if service.restarts > RESTARTS_MAX:
            lines = "\n".join(tail(service.spec.log, LOG_LINES))
            raise Unavailable(
                "testnet_failed",
                f"{service.spec.name} keeps ending (status {service.exit_status}); "
                f"end of {service.spec.log}:\n{lines}",
            )
