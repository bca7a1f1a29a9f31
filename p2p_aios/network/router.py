"""libp2p's gossipsub router, which passes on only control entries that mean something."""

import logging
from typing import Any, Final

import trio
from libp2p.pubsub.gossipsub import PROTOCOL_ID_V11, GossipSub
from libp2p.pubsub.pb import rpc_pb2

HEARTBEAT_S: Final = 1
"""120 in stock: a mesh would take minutes to heal."""
DEGREE: Final = 6
DEGREE_LOW: Final = 4
DEGREE_HIGH: Final = 12
IDS_PER_RPC_MAX: Final = 512
"""Message ids taken from the IHAVEs, and from the IWANTs, of one RPC."""
WANTED_BYTES_MAX: Final = 2 << 20
"""Message bytes sent in answer to the IWANTs of one RPC."""
BACKOFF_S_MAX: Final = 300
MESSAGES_UNSENT_MAX: Final = 16
"""Messages kept for a peer that has not told its subscriptions yet."""

log = logging.getLogger(__name__)


class GuardedRouter(GossipSub):
    """Gossipsub 1.1 that ignores control entries about other topics and survives its own bugs."""

    def __init__(self) -> None:
        super().__init__(
            # 1.2 and 1.3 delivered less than half as much under load.
            protocols=[PROTOCOL_ID_V11],
            degree=DEGREE,
            degree_low=DEGREE_LOW,
            degree_high=DEGREE_HIGH,
            heartbeat_interval=HEARTBEAT_S,
            # Moves the heartbeat up to 60 s.
            adaptive_gossip_enabled=False,
            # Drops beyond 10 messages a second per topic and peer, our own included.
            spam_protection_enabled=False,
            # Wants three different IP addresses in every mesh.
            eclipse_protection_enabled=False,
            max_pending_messages_per_peer=MESSAGES_UNSENT_MAX,
        )

    async def handle_rpc(self, rpc: Any, sender_peer_id: Any) -> None:
        control = rpc.control
        room = IDS_PER_RPC_MAX
        for ihave in control.ihave:
            if ihave.topicID in self.mesh and room:
                del ihave.messageIDs[room:]
                room -= len(ihave.messageIDs)
                await self.handle_ihave(ihave, sender_peer_id)
        if control.iwant:
            await self._answer_wants(control.iwant, sender_peer_id)
        for graft in control.graft:
            if graft.topicID in self.mesh:
                await self.handle_graft(graft, sender_peer_id)
        for prune in control.prune:
            if prune.topicID in self.mesh:
                # Peers offered in exchange are strangers' claims; we find peers otherwise.
                del prune.peers[:]
                prune.backoff = min(prune.backoff, BACKOFF_S_MAX)
                await self.handle_prune(prune, sender_peer_id)

    async def _answer_wants(self, iwants: Any, sender_peer_id: Any) -> None:
        """Each wanted message once, up to a total size."""
        wanted = dict.fromkeys(mid for iwant in iwants for mid in iwant.messageIDs)
        chosen, size = [], 0
        for message_id in tuple(wanted)[:IDS_PER_RPC_MAX]:
            message = self.mcache.get(message_id)
            if message is None:
                continue
            size += len(message.data)
            if size > WANTED_BYTES_MAX:
                break
            chosen.append(message_id)
        if chosen:
            await self.handle_iwant(rpc_pb2.ControlIWant(messageIDs=chosen), sender_peer_id)

    async def publish(self, msg_forwarder: Any, pubsub_msg: Any) -> None:
        await super().publish(msg_forwarder, pubsub_msg)
        # Stock appends a time per message and trims only when adaptive gossip is on.
        self.recent_message_deliveries.clear()

    def _check_equivocation(self, _msg: Any) -> bool:
        """Stock keeps up to 1,000 whole messages for this; a second message under the same sender
        and sequence number never gets past `GuardedPubsub`."""
        return True

    async def heartbeat(self) -> None:
        while True:
            try:
                await super().heartbeat()
            except Exception:  # a bug in its bookkeeping must not end the process
                log.exception("gossip heartbeat failed")
                await trio.sleep(HEARTBEAT_S)

    async def on_peer_subscribed(self, peer_id: Any, topic: str) -> None:
        try:
            await super().on_peer_subscribed(peer_id, topic)
        except Exception:  # runs as a task of the service, which would end
            log.exception("grafting failed")

    async def flush_pending_messages(self, peer_id: Any) -> None:
        try:
            await super().flush_pending_messages(peer_id)
        except Exception:  # as above
            log.exception("sending what waited for a peer failed")
