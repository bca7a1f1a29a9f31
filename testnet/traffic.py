"""Background transfers at a steady rate, with the time each takes to become final.

Every wallet sends through a node of its own, so that its nonces arrive in order. The clock is the
client's: from before the transaction is signed until the event of its block arrives.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import AiosError
from p2p_aios.sdk import Client
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import Address, Amount, Hash

AMOUNT: Final = Amount(1_000)
"""Of one transfer: 0.00001 AIOS."""
IN_FLIGHT_MAX: Final = 2_000
"""Sent and not yet final; beyond it the sender pauses."""
LATE_S_MAX: Final = 1.0
"""How much of its schedule a sender makes up for after it was held up."""
RETRY_S: Final = 0.5
"""Pause after a refusal: the node is restarting, or full."""


@dataclass(frozen=True, slots=True)
class Wallet:
    """One sender and the node it sends through."""

    key: KeyPair
    url: str
    recipient: Address


@dataclass(slots=True)
class Traffic:
    """What is on its way and what became final."""

    on_final: Callable[[float], None]
    """Called with the seconds a transfer took."""
    refused: int = 0
    """Submissions that a node did not take."""
    in_flight: dict[Hash, float] = field(default_factory=dict)
    """When each transaction that is not final yet was sent, monotonic seconds."""

    async def run(self, wallets: Sequence[Wallet], per_s: float) -> None:
        """Send `per_s` transfers a second, all wallets together, until cancelled."""
        async with trio.open_nursery() as nursery:
            for number, wallet in enumerate(wallets):
                # Spread over the second, so that wallets do not send at the same instant.
                offset_s = number / per_s
                nursery.start_soon(self._send, wallet, len(wallets) / per_s, offset_s)

    async def drain(self, limit_s: float) -> None:
        """Wait until everything sent is final, at most `limit_s`."""
        with trio.move_on_after(limit_s):
            while self.in_flight:
                await trio.sleep(0.05)

    async def _send(self, wallet: Wallet, gap_s: float, offset_s: float) -> None:
        async with Client(wallet.url) as client, trio.open_nursery() as nursery:
            is_following = trio.Event()
            nursery.start_soon(self._follow, wallet, is_following)
            await is_following.wait()
            due_s = trio.current_time() + offset_s
            while True:
                await trio.sleep_until(due_s)
                # A little lateness is made up for, so that the rate holds; a long one is not.
                due_s = max(due_s + gap_s, trio.current_time() - LATE_S_MAX)
                if len(self.in_flight) < IN_FLIGHT_MAX and not await self._send_one(client, wallet):
                    await trio.sleep(RETRY_S)

    async def _send_one(self, client: Client, wallet: Wallet) -> bool:
        begun_s = trio.current_time()
        try:
            id = await client.send(wallet.key, Transfer(wallet.recipient, AMOUNT))
        except AiosError:
            self.refused += 1
            return False
        self.in_flight.setdefault(id, begun_s)
        return True

    async def _follow(self, wallet: Wallet, is_following: trio.Event) -> None:
        """Hear of the wallet's final transfers; sets `is_following` once it does."""
        async with Client(wallet.url) as client:
            while True:
                try:
                    async with client.subscribe_events(
                        ["Transferred"], format_address(wallet.key.address)
                    ) as notices:
                        is_following.set()
                        async for notice in notices:
                            self._on_final(notice.transaction)
                except AiosError:
                    await trio.sleep(RETRY_S)

    def _on_final(self, id: Hash | None) -> None:
        begun_s = self.in_flight.pop(id, None) if id is not None else None
        if begun_s is not None:
            self.on_final(trio.current_time() - begun_s)
