"""When a testnet works: every node finalizes, every gateway is up, every worker has joined."""

import logging
import time
from typing import Final

import trio

from p2p_aios.errors import Unavailable
from p2p_aios.types.views import GatewayState
from testnet.ensemble import Ensemble
from testnet.logs import tail
from testnet.status import Clients, ask_all, open_clients

POLL_S: Final = 0.5
RESTARTS_MAX: Final = 3
"""A child that died more often before the whole was up never comes up."""
REGISTERED: Final = '"event": "registered"'
"""What `aios worker join --json` says once cluster and chain know it."""
LOG_LINES: Final = 12
"""Of such a child's log, for the person who reads the refusal."""
LOG = logging.getLogger("aios.testnet")


async def until_ready(ensemble: Ensemble) -> None:
    """Raises Unavailable(`testnet_failed`) with the log's end of a child that keeps dying."""
    begun_s = time.monotonic()
    told: tuple[str, ...] = ()
    async with open_clients(ensemble.plan) as clients:
        while missing := await _missing(ensemble, clients):
            _require_hope(ensemble)
            if missing != told:
                LOG.info("%.1f s: waiting for %s", time.monotonic() - begun_s, ", ".join(missing))
                ensemble.wait_for(missing)
                told = missing
            await trio.sleep(POLL_S)
    ensemble.wait_for(())
    LOG.info("ready after %.1f s", time.monotonic() - begun_s)


async def _missing(ensemble: Ensemble, clients: Clients) -> tuple[str, ...]:
    """What does not work yet."""
    plan = ensemble.plan
    missing: list[str] = []
    for name, status in (await ask_all(clients)).items():
        if status is None or status.height < 1:
            missing.append(name)
        elif plan.ray is not None and status.gateway is not GatewayState.READY:
            missing.append(f"gateway of {name}")
    workers = {worker.name for worker in plan.workers}
    # Not from the chain: it lists workers of an earlier run that are not back yet.
    missing += [
        service.spec.name
        for service in ensemble.services
        if service.spec.name in workers and not service.has_said(REGISTERED)
    ]
    return tuple(missing)


def _require_hope(ensemble: Ensemble) -> None:
    for service in ensemble.services:
        if service.restarts > RESTARTS_MAX:
            lines = "\n".join(tail(service.spec.log, LOG_LINES))
            raise Unavailable(
                "testnet_failed",
                f"{service.spec.name} keeps ending (status {service.exit_status}); "
                f"end of {service.spec.log}:\n{lines}",
            )
