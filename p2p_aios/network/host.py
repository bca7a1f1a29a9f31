"""A libp2p host that outlives its peers' mistakes: TCP, noise and yamux with a secp256k1 identity.

Stock py-libp2p 0.8.1 ends the whole process on an exception in any stream handler, and keeps no
account of who misbehaved. Here every inbound stream runs under one guard (`_serve_stream`), every
connection passes one rule (`admission`), and whoever sends garbage is disconnected and
refused for a bounded time.
"""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import trio
from libp2p.abc import INotifee
from libp2p.host.basic_host import BasicHost
from libp2p.identity.identify_push import ID_PUSH
from libp2p.peer.id import ID
from libp2p.tools.anyio_service.exceptions import LifecycleError
from multiaddr import Multiaddr

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.network.admission import Admission, Link
from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.identity import PeerAddress, address_of, format_peer, lib_key_pair
from p2p_aios.network.lifetime import open_shielded
from p2p_aios.network.listening import require_free
from p2p_aios.network.overrides import install_overrides
from p2p_aios.network.penalties import GARBAGE, NUISANCE, Penalties
from p2p_aios.network.swarm import UPGRADE_S_MAX, GuardedSwarm
from p2p_aios.network.wire import Stream

INBOUND_STREAMS_MAX: Final = 64
"""Streams one peer may hold open towards us."""
OPEN_STREAM_S_MAX: Final = 5.0
DIAL_S_MAX: Final = 2 * UPGRADE_S_MAX

log = logging.getLogger(__name__)

Handler = Callable[[Stream], Awaitable[None]]
Direction = Literal["inbound", "outbound"]


@dataclass(frozen=True, slots=True)
class PeerConnection:
    """One open connection."""

    peer: bytes
    direction: Direction
    """Who dialed: "outbound" is us."""
    rtt_ms: float | None
    """Smoothed round-trip time; None before the first answer."""
    remote: str
    """`host:port` of the other end."""


class Host:
    """The running host. Create it with `open_host`."""

    def __init__(self, config: NetworkConfig) -> None:
        install_overrides()
        key_pair = lib_key_pair(config.secret)
        peer_id = ID.from_pubkey(key_pair.public_key)
        self.config = config
        self.peer: bytes = bytes(peer_id.to_bytes())
        """Our own binary peer id."""
        self._admission = Admission(self.peer, config.connections_max, config.known_reserved)
        self.penalties = Penalties()
        self._swarm = GuardedSwarm(key_pair, peer_id, config.connections_max, self._admit)
        self.lib = BasicHost(self._swarm, disable_identify_address_discovery=True)
        """libp2p's host, for this package only."""
        # What a peer pushes is added to what it pushed before, without end; `identify` asks once.
        self.lib.remove_stream_handler(ID_PUSH)
        self._swarm.set_stream_handler(self._serve_stream)
        self._swarm.register_notifee(_Notifee(self))
        self._inbound_streams: dict[bytes, int] = {}
        self._arrivals: dict[bytes, trio.Event] = {}
        self._departures: dict[bytes, trio.Event] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """What others dial: the listening multiaddrs with our /p2p/ part."""
        return tuple(address_of(str(a), self.peer) for a in self.lib.get_transport_addrs())

    def serve(self, protocol: str, handler: Handler) -> None:
        """Call `handler` with each inbound stream of a protocol.

        The handler must bound its own time. What it raises ends its stream only; Invalid also
        counts against the peer.
        """

        async def run(lib_stream: Any) -> None:
            stream = Stream(lib_stream)
            try:
                await handler(stream)
            except Invalid as error:
                self.penalize(stream.peer, GARBAGE, error.code)
                await stream.reset()
            except Unavailable:
                await stream.reset()

        self.lib.set_stream_handler(protocol, run)

    async def open_stream(self, peer: bytes, protocol: str) -> Stream:
        """A new stream on an open connection; never dials.

        Raises Unavailable(`peer_not_connected`, `stream_refused`).
        """
        if not self.is_connected(peer):
            raise Unavailable("peer_not_connected", f"no connection to {format_peer(peer)}")
        try:
            with trio.fail_after(OPEN_STREAM_S_MAX):
                return Stream(await self.lib.new_stream(ID(peer), [protocol]))
        except Exception as error:  # noqa: BLE001 - many unrelated types, all meaning: no stream
            raise Unavailable(
                "stream_refused",
                f"{format_peer(peer)} opened no {protocol} ({type(error).__name__})",
            ) from None

    async def dial(self, address: PeerAddress) -> None:
        """Connect to a peer, unless it is connected.

        Raises Unavailable(`dial_failed`).
        """
        if self.is_connected(address.peer):
            return
        try:
            with trio.fail_after(DIAL_S_MAX):
                await self._swarm.dial_addr(Multiaddr(address.address), ID(address.peer))
        except Exception as error:  # noqa: BLE001 - as in open_stream
            raise Unavailable("dial_failed", f"{address.address}: {error or type(error)}") from None

    def is_connected(self, peer: bytes) -> bool:
        return any(not c.is_closed for c in self._swarm.get_connections(ID(peer)))

    def connections(self) -> tuple[PeerConnection, ...]:
        """Every open connection, in no particular order."""
        return tuple(_describe(c) for c in self._swarm.get_connections() if not c.is_closed)

    async def wait_connected(self, peer: bytes) -> None:
        while not self.is_connected(peer):
            await self._arrivals.setdefault(peer, trio.Event()).wait()

    async def wait_disconnected(self, peer: bytes) -> None:
        while self.is_connected(peer):
            await self._departures.setdefault(peer, trio.Event()).wait()

    async def disconnect(self, peer: bytes) -> None:
        """Abort every connection to a peer at once."""
        for connection in self._swarm.get_connections(ID(peer)):
            await connection.muxed_conn.abort()

    def set_known(self, source: str, peers: frozenset[bytes]) -> None:
        """Name the peers that may use the reserved connections, by the part that knows them."""
        self._admission.set_known(source, peers)

    def is_known(self, peer: bytes) -> bool:
        """Whether some part of this node has named the peer."""
        return self._admission.is_known(peer)

    def penalize(self, peer: bytes, points: int, why: str) -> None:
        """Count a misdeed; a peer over the limit is disconnected and refused for a while."""
        if peer == self.peer or not self.penalties.penalize(peer, points, trio.current_time()):
            return
        log.warning("peer=%s banned why=%s", format_peer(peer), why)
        try:
            # Not at once: the caller may be a task of the very connection that is to end.
            self._swarm.manager.run_task(self.disconnect, peer)
        except (RuntimeError, LifecycleError):
            return  # the host is closing, and every connection with it

    def is_banned(self, peer: bytes) -> bool:
        return self.penalties.is_banned(peer, trio.current_time())

    def _admit(self, connection: Any) -> str | None:
        if self.is_banned(connection.peer_id.to_bytes()):
            return "the peer is banned"
        held = [_link(c.muxed_conn) for c in self._swarm.get_connections() if not c.is_closed]
        return self._admission.refusal(_link(connection), held)

    async def _serve_stream(self, stream: Any) -> None:
        """The guard around every inbound stream of every protocol, libp2p's own included."""
        peer = stream.muxed_conn.peer_id.to_bytes()
        held = self._inbound_streams.get(peer, 0)
        if held >= INBOUND_STREAMS_MAX:
            self.penalize(peer, NUISANCE, "too_many_streams")
            await stream.reset()
            return
        self._inbound_streams[peer] = held + 1
        try:
            await self.lib._swarm_stream_handler(stream)
        except Exception as error:  # noqa: BLE001 - one that left here would end the process
            log.debug("peer=%s stream failed: %r", format_peer(peer), error)
            if not stream.muxed_conn.event_shutting_down.is_set():
                self.penalize(peer, NUISANCE, "stream_failed")
            await stream.reset()
        finally:
            self._inbound_streams[peer] -= 1
            if not self._inbound_streams[peer]:
                del self._inbound_streams[peer]

    def _note(self, peer: bytes, waiting: dict[bytes, trio.Event]) -> None:
        event = waiting.pop(peer, None)
        if event is not None:
            event.set()

    async def _close(self) -> None:
        """Abort all connections and stop listening, without waiting on any peer."""
        for connection in self._swarm.get_connections():
            await connection.muxed_conn.abort()
        for listener in tuple(self._swarm.listeners.values()):
            await listener.close()


class _Notifee(INotifee):
    """Turns libp2p's notifications into events."""

    def __init__(self, host: Host) -> None:
        self._host = host

    async def connected(self, _network: Any, conn: Any) -> None:
        peer = conn.muxed_conn.peer_id.to_bytes()
        log.debug("peer=%s connected", format_peer(peer))
        self._host._note(peer, self._host._arrivals)

    async def disconnected(self, _network: Any, conn: Any) -> None:
        peer = conn.muxed_conn.peer_id.to_bytes()
        log.debug("peer=%s disconnected", format_peer(peer))
        self._host._note(peer, self._host._departures)

    async def opened_stream(self, network: Any, stream: Any) -> None:
        """Of no interest."""

    async def closed_stream(self, network: Any, stream: Any) -> None:
        """Of no interest."""

    async def listen(self, network: Any, multiaddr: Any) -> None:
        """Of no interest."""

    async def listen_close(self, network: Any, multiaddr: Any) -> None:
        """Of no interest."""


def _link(connection: Any) -> Link:
    address = connection.get_remote_address()
    return Link(connection.peer_id.to_bytes(), address[0] if address else "")


def _describe(connection: Any) -> PeerConnection:
    muxed = connection.muxed_conn
    rtt_s = muxed.rtt()
    address = muxed.get_remote_address()
    return PeerConnection(
        peer=muxed.peer_id.to_bytes(),
        direction="outbound" if muxed.is_initiator else "inbound",
        rtt_ms=1000 * rtt_s if rtt_s > 0 else None,
        remote=f"{address[0]}:{address[1]}" if address else "unknown",
    )


@asynccontextmanager
async def open_host(config: NetworkConfig) -> AsyncIterator[Host]:
    """A listening host; everything it started has ended when the context is left.

    Raises Unavailable(`listen_failed`), Invalid(`key_malformed`).
    """
    host = Host(config)
    for address in config.listen:
        await require_free(address)

    @asynccontextmanager
    async def run() -> AsyncIterator[Host]:
        async with host.lib.run([Multiaddr(address) for address in config.listen]):
            if len(host._swarm.listeners) < len(set(config.listen)):
                raise Unavailable(
                    "listen_failed", f"cannot listen on {', '.join(config.listen)}; is it in use?"
                )
            try:
                yield host
            finally:
                await host._close()

    async with open_shielded(run) as running:
        yield running
