"""Keeping connections to the configured peers: dial, redial, and tell who is there.

libp2p dials once and never again. Here each configured peer has a task that dials while the peer
is away, waiting longer after each failure. When both sides are configured to dial each other, the
one with the smaller peer id goes first, so that two connections seldom meet.
"""

import logging
import random
from typing import Final

import trio

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.network.host import Host, PeerConnection
from p2p_aios.network.identity import PeerAddress, format_peer, parse_address

PEERS_MAX: Final = 256
"""Configured peers of one node."""
ADDRESSES_PER_PEER_MAX: Final = 4
REDIAL_S: Final = 0.25
REDIAL_S_MAX: Final = 15.0
REDIAL_JITTER: Final = 0.2
"""Part of a delay by which it varies, so that nodes do not dial in step."""
COURTESY_S: Final = 0.75
"""How long the side with the larger peer id lets the other dial first."""

log = logging.getLogger(__name__)


class Peers:
    """The configured peers. `run` must be running for anything to happen."""

    def __init__(self, host: Host, addresses: tuple[str, ...] = ()) -> None:
        """Raises Invalid(`address_malformed`, `too_many_peers`)."""
        self._host = host
        self._addresses: dict[bytes, list[PeerAddress]] = {}
        self._scopes: dict[bytes, trio.CancelScope] = {}
        self._nursery: trio.Nursery | None = None
        for text in addresses:
            self.add(text)

    def add(self, text: str) -> bytes:
        """Keep a connection to this address from now on; the peer's id.

        Raises Invalid(`address_malformed`, `too_many_peers`).
        """
        address = parse_address(text)
        if address.peer == self._host.peer:
            return address.peer
        known = self._addresses.get(address.peer)
        if known is None:
            if len(self._addresses) >= PEERS_MAX:
                raise Invalid("too_many_peers", f"a node keeps at most {PEERS_MAX} peers")
            self._addresses[address.peer] = [address]
            self._host.set_known("configured", self.configured())
            if self._nursery is not None:
                self._nursery.start_soon(self._keep, address.peer)
        elif address not in known:
            known[:] = [address, *known][:ADDRESSES_PER_PEER_MAX]
        return address.peer

    async def remove(self, peer: bytes) -> None:
        """Dial a peer no more, and disconnect from it."""
        self._addresses.pop(peer, None)
        self._host.set_known("configured", self.configured())
        scope = self._scopes.pop(peer, None)
        if scope is not None:
            scope.cancel()
        await self._host.disconnect(peer)

    def configured(self) -> frozenset[bytes]:
        return frozenset(self._addresses)

    def connected(self) -> tuple[PeerConnection, ...]:
        """One entry per connected peer (the older connection if there are two)."""
        by_peer: dict[bytes, PeerConnection] = {}
        for connection in self._host.connections():
            by_peer.setdefault(connection.peer, connection)
        return tuple(by_peer.values())

    async def run(self) -> None:
        """Keep the connections until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for peer in tuple(self._addresses):
                nursery.start_soon(self._keep, peer)
            await trio.sleep_forever()

    async def _keep(self, peer: bytes) -> None:
        scope = self._scopes[peer] = trio.CancelScope()
        courtesy_s = COURTESY_S if self._host.peer > peer else 0.0
        with scope:
            while True:
                await self._await_arrival(peer, courtesy_s)
                failures = 0
                while not self._host.is_connected(peer):
                    await self._dial_any(peer, failures)
                    failures += 1
                    if not self._host.is_connected(peer):
                        await self._await_arrival(peer, _delay_s(failures))
                await self._host.wait_disconnected(peer)
                log.info("peer=%s disconnected", format_peer(peer))
                await self._await_arrival(peer, _delay_s(0))

    async def _await_arrival(self, peer: bytes, patience_s: float) -> None:
        """Give the peer some time to come by itself."""
        with trio.move_on_after(patience_s):
            await self._host.wait_connected(peer)

    async def _dial_any(self, peer: bytes, attempt: int) -> None:
        """Try one of the peer's addresses, another each time."""
        if self._host.is_banned(peer):
            return
        addresses = self._addresses[peer]
        address = addresses[attempt % len(addresses)]
        try:
            await self._host.dial(address)
            log.info("peer=%s connected address=%s", format_peer(peer), address.address)
        except Unavailable as error:
            log.debug("peer=%s %s", format_peer(peer), error.message)


def _delay_s(failures: int) -> float:
    delay_s = min(REDIAL_S_MAX, REDIAL_S * 2.0 ** min(failures, 16))
    return delay_s * random.uniform(1 - REDIAL_JITTER, 1 + REDIAL_JITTER)
