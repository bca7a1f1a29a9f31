"""When a testnet works: every node finalizes, every gateway is up, every worker is on the chain."""

import logging
import time
from typing import Final

import trio

from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import AiosError, Unavailable
from p2p_aios.sdk import Client
from p2p_aios.types.views import GatewayState, WorkerView
from testnet.ensemble import Ensemble
from testnet.layout import Layout, Plan
from testnet.logs import tail
from testnet.status import ask_status

POLL_S: Final = 0.25
RESTARTS_MAX: Final = 3
"""A child that died more often before the whole was up never comes up."""
LOG_LINES: Final = 12
"""Of such a child's log, for the person who reads the refusal."""
LOG = logging.getLogger("aios.testnet")


async def until_ready(ensemble: Ensemble) -> None:
    """Raises Unavailable(`testnet_failed`) with the log's end of a child that keeps dying."""
    begun_s = time.monotonic()
    told: tuple[str, ...] = ()
    while missing := await _missing(ensemble.layout, ensemble.plan):
        _require_hope(ensemble)
        if missing != told:
            LOG.info("%.1f s: waiting for %s", time.monotonic() - begun_s, ", ".join(missing))
            ensemble.wait_for(missing)
            told = missing
        await trio.sleep(POLL_S)
    ensemble.wait_for(())
    LOG.info("ready after %.1f s", time.monotonic() - begun_s)


async def _missing(layout: Layout, plan: Plan) -> tuple[str, ...]:
    """What does not work yet."""
    missing: list[str] = []
    for node in plan.nodes:
        status = await ask_status(node.url)
        if status is None or status.height < 1:
            missing.append(node.name)
        elif plan.ray is not None and status.gateway is not GatewayState.READY:
            missing.append(f"gateway of {node.name}")
    if not missing and plan.workers:
        on_chain = {worker.address for worker in await _workers(plan) if not worker.is_retired}
        for worker in plan.workers:
            key = load_keystore(layout.worker(worker.name) / "key.pem", None)
            if key.address not in on_chain:
                missing.append(worker.name)
    return tuple(missing)


async def _workers(plan: Plan) -> tuple[WorkerView, ...]:
    try:
        async with Client(plan.nodes[0].url) as client:
            return await client.workers()
    except AiosError:
        return ()


def _require_hope(ensemble: Ensemble) -> None:
    for service in ensemble.services:
        if service.restarts > RESTARTS_MAX:
            lines = "\n".join(tail(service.spec.log, LOG_LINES))
            raise Unavailable(
                "testnet_failed",
                f"{service.spec.name} keeps ending (status {service.exit_status}); "
                f"end of {service.spec.log}:\n{lines}",
            )
