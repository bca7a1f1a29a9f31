"""A contributor offers itself on the chain: RegisterWorker, signed by its agent."""

import logging
from dataclasses import dataclass
from typing import Final

import trio

from compute.agent import Agent
from p2p_aios.errors import AiosError, Invalid
from p2p_aios.sdk.client import Client, require_success
from p2p_aios.types.gateway import Terms
from p2p_aios.types.views import WorkerView
from p2p_aios.units import Address, Amount, Height

LIFETIME_BLOCKS: Final = 120
RETRY_S: Final = 3.0
PASSING_CODES: Final = frozenset(
    {"nonce_too_low", "nonce_too_high", "expired", "replacement_underpriced", "funds_insufficient"}
)
"""Refusals that another try, perhaps after somebody sent the account its first coins, overcomes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """What the contributor registers as."""

    home: Address | None
    """Validator whose node reaches this worker; None: the validator of the node that is asked."""
    capacity: int
    """Jobs held at once."""


async def register(agent: Agent, client: Client, offer: Offer) -> None:
    """Return once the chain lists the agent's offer; a node that does not answer is asked again.

    Raises Invalid where the chain will never take the offer as it is: `unknown_home`,
    `unknown_validator`, `fee_over_limit`, …
    """
    told = ""
    while True:
        try:
            home = offer.home or await _home_of(client)
            if await _is_listed(agent, client, home, offer.capacity):
                return
            await _submit(agent, client, home, offer.capacity)
            return
        except AiosError as error:
            if isinstance(error, Invalid) and error.code not in PASSING_CODES:
                raise
            if str(error) != told:
                log.warning("not registered yet: %s", error)
            told = str(error)
        await trio.sleep(RETRY_S)


async def _home_of(client: Client) -> Address:
    validator = (await client.status()).validator
    if validator is None:
        raise Invalid("unknown_home", "this node is no validator: name one with --home")
    return validator


async def _is_listed(agent: Agent, client: Client, home: Address, capacity: int) -> bool:
    def is_same(worker: WorkerView) -> bool:
        offered = (worker.address, worker.home, worker.capacity, worker.kinds)
        wanted = (agent.address, home, capacity, agent.kinds)
        return offered == wanted and not worker.is_retired

    return any(map(is_same, await client.workers()))


async def _submit(agent: Agent, client: Client, home: Address, capacity: int) -> None:
    chain_id, genesis = await client.chain()
    account = await client.account(agent.address)
    expires = Height(account.height + LIFETIME_BLOCKS)
    fee, raw = Amount(0), b""
    while True:
        terms = Terms(chain_id, account.next_nonce, fee, expires)
        raw = agent.sign_offer(terms, home, capacity).raw
        least = Amount(genesis.params.fee_base + genesis.params.fee_per_byte * len(raw))
        # A larger fee may take more bytes, which cost more; it settles after a step or two.
        if fee >= least:
            break
        fee = least
    require_success(await client.wait(await client.submit(raw)))
