"""libp2p's swarm with an admission rule, no dialing of its own, and no leaking slots."""

from collections.abc import Callable
from typing import Any, Final

import trio
from libp2p.crypto.x25519 import create_new_key_pair as create_noise_key_pair
from libp2p.network.config import ConnectionConfig, RetryConfig
from libp2p.network.exceptions import SwarmException
from libp2p.network.swarm import Swarm
from libp2p.peer.peerstore import PeerStore
from libp2p.security.noise.transport import PROTOCOL_ID as NOISE_PROTOCOL
from libp2p.security.noise.transport import Transport as NoiseTransport
from libp2p.stream_muxer.yamux.yamux import PROTOCOL_ID as YAMUX_PROTOCOL
from libp2p.stream_muxer.yamux.yamux import Yamux
from libp2p.transport.tcp.tcp import TCP

from p2p_aios.network.connection import Upgrader

HANDSHAKES_MAX: Final = 256
"""Inbound connections that have not finished their handshake."""
UPGRADE_S_MAX: Final = 5.0
"""Time for a handshake, and for agreeing on a stream's protocol."""

Admit = Callable[[Any], str | None]
"""(multiplexed connection) -> None to admit, else why not."""


class GuardedSwarm(Swarm):
    """Asks before it registers a connection, and dials only what it is told to."""

    def __init__(self, key_pair: Any, peer_id: Any, connections_max: int, admit: Admit) -> None:
        upgrader = Upgrader(
            {NOISE_PROTOCOL: NoiseTransport(key_pair, create_noise_key_pair().private_key)},
            {YAMUX_PROTOCOL: Yamux},
            negotiate_timeout=int(UPGRADE_S_MAX),
        )
        peerstore = PeerStore()
        peerstore.add_key_pair(peer_id, key_pair)
        super().__init__(
            peer_id,
            peerstore,
            upgrader,
            transports=[TCP()],
            retry_config=RetryConfig(max_retries=0),
            connection_config=_connection_config(connections_max),
        )
        self._admit = admit
        # Stock's limit counts handshakes and connections together, so silent sockets would lock
        # everybody out; connections are counted by `admit`.
        self._inbound_limiter = trio.CapacityLimiter(connections_max + HANDSHAKES_MAX)

    async def add_conn(self, muxed_conn: Any, direction: str = "unknown") -> Any:
        refusal = self._admit(muxed_conn)
        if refusal is not None:
            await muxed_conn.abort()
            raise SwarmException(refusal)
        return await super().add_conn(muxed_conn, direction)

    async def dial_peer(self, peer_id: Any) -> Any:
        """Stock dials addresses it learned from strangers whenever a stream is wanted."""
        raise SwarmException(f"not connected to {peer_id}")

    def _schedule_prune(self) -> None:
        """Stock closes whatever is above its watermark; here `admit` keeps the count."""

    async def notify_disconnected(self, conn: Any) -> None:
        """Also forgets the peer: stock keeps what it heard of every peer id it ever met."""
        await super().notify_disconnected(conn)
        peer_id = conn.muxed_conn.peer_id
        self.auto_connector._recent_disconnects.clear()
        if not self.get_connections(peer_id):
            self.tag_store.clear_peer(peer_id)
            if self.peerstore.has_peer(peer_id):
                self.peerstore.clear_peerdata(peer_id)

    async def upgrade_inbound_raw_conn(self, raw_conn: Any, maddr: Any) -> Any:
        """Stock holds the slot of an accepted connection until the swarm ends, so a node that has
        ever accepted as many connections as it has slots accepts no more."""
        muxed_conn = await super().upgrade_inbound_raw_conn(raw_conn, maddr)
        await muxed_conn.event_closed.wait()
        raise SwarmException("the connection ended")


def _connection_config(connections_max: int) -> ConnectionConfig:
    return ConnectionConfig(
        # A backstop: `admit` keeps the limit, and does not count what is closing.
        max_connections=2 * connections_max,
        # Zero watermarks keep stock from dialing whatever is in its peer store.
        min_connections=0,
        low_watermark=0,
        high_watermark=0,
        max_connections_per_peer=2 * connections_max,
        dial_timeout=UPGRADE_S_MAX,
        inbound_upgrade_timeout=UPGRADE_S_MAX,
        outbound_upgrade_timeout=UPGRADE_S_MAX,
        outbound_stream_protocol_negotiation_timeout=UPGRADE_S_MAX,
        inbound_stream_protocol_negotiation_timeout=UPGRADE_S_MAX,
    )
