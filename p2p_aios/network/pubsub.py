"""libp2p's gossipsub with its inbound half rewritten for hostile peers.

Four inputs end a stock py-libp2p 0.8.1 process: a protobuf that does not parse, a signed message
whose key does not parse, an exception in a sync validator, and one in a stream handler. Stock also
spawns a task per received message, answers a repeated IWANT with as many copies, and keeps state
for every topic name a peer invents. `GuardedPubsub` reads, checks and judges what arrives, no
faster than `UNITS_PER_S` from one peer; `router.GuardedRouter` acts on its control entries. Sending
stays stock's.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from enum import Enum
from typing import Any, Final

import trio
from google.protobuf.message import DecodeError
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2
from libp2p.pubsub.pubsub import Pubsub
from libp2p.pubsub.validators import signature_validator

from p2p_aios.codec.frames import FrameBuffer, read_varint_header
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.network.pace import Pace
from p2p_aios.network.penalties import GARBAGE, NUISANCE, REJECTED
from p2p_aios.network.router import GuardedRouter
from p2p_aios.network.wire import FRAME_BYTES_MAX, Stream

MESSAGE_BYTES_MAX: Final = 900_000
"""Largest gossip message; what is larger than 1 MiB with its envelope is lost silently."""
VALIDATION_S_MAX: Final = 5.0
SUBSCRIPTIONS_PER_RPC_MAX: Final = 32
MESSAGES_PER_RPC_MAX: Final = 512
CONTROL_PER_RPC_MAX: Final = 256
"""Control entries of one RPC; an honest one has a few for each topic."""
STREAMS_PER_PEER_MAX: Final = 4
"""Inbound gossip streams of one peer: one, and those of connections that are about to end."""
UNITS_PER_S: Final = 2000
"""What is taken from one peer: a message is a unit, so is a control entry, and an RPC without
either. They cost next to no bandwidth, and up to a millisecond of ours each; whoever sends more is
read more slowly. No honest peer does: it has to handle what it sends."""
UNITS_BURST: Final = 8000
SEQUENCE_BYTES: Final = 8
PEER_ID_BYTES_MAX: Final = 64

log = logging.getLogger(__name__)


class Verdict(Enum):
    """What a validator says of a message."""

    ACCEPT = "accept"
    """Deliver it and pass it on."""
    IGNORE = "ignore"
    """Neither; nobody is to blame (known already, too early, too late, or no room)."""
    REJECT = "reject"
    """Neither, and who passed it on is to blame: it can never have been valid."""


Judge = Callable[[bytes, Any], Awaitable[Verdict]]
"""(peer that passed it on, protobuf message) -> verdict; the message is signed and new."""
Penalize = Callable[[bytes, int, str], None]


class GuardedPubsub(Pubsub):
    """Reads frames itself, checks before it trusts, and blames who sent what."""

    def __init__(
        self,
        host: Any,
        router: GuardedRouter,
        topics: frozenset[str],
        judge: Judge,
        blame: Penalize,
    ) -> None:
        super().__init__(
            host,
            router,
            # Unsigned, a made-up sender and sequence number would suppress an honest message.
            strict_signing=True,
            allowed_topics=topics,
            max_subscriptions_per_peer=len(topics),
            max_inbound_rpc_size=FRAME_BYTES_MAX,
        )
        self._judge = judge
        self._blame = blame
        self._readers: Counter[Any] = Counter()
        self._paces: dict[Any, Pace] = {}
        # Stock starts at whole seconds and adds one per message: a node that published faster
        # than one a second repeats sequence numbers after a restart, and is then ignored.
        self.counter = time.time_ns()

    async def stream_handler(self, stream: Any) -> None:
        """Read RPCs until the stream ends; one at a time, so a peer waits for its own work only."""
        peer_id = stream.muxed_conn.peer_id
        reader, buffer = Stream(stream), FrameBuffer(FRAME_BYTES_MAX, read_varint_header)
        if self._readers[peer_id] >= STREAMS_PER_PEER_MAX:
            self._blame(reader.peer, NUISANCE, "too_many_streams")
            await reader.reset()
            return
        self._readers[peer_id] += 1
        try:
            while self.manager.is_running and (data := await reader.read()):
                buffer.feed(data)
                while (frame := buffer.next_frame()) is not None:
                    rpc = _parse_rpc(frame)
                    await self._pace(peer_id, rpc)
                    await self._handle_rpc(peer_id, rpc)
        except Invalid as error:
            self._blame(reader.peer, GARBAGE, error.code)
            await reader.reset()
            self._handle_dead_peer(peer_id)
        except Unavailable:
            await reader.reset()
        finally:
            self._readers[peer_id] -= 1
            if not self._readers[peer_id]:
                del self._readers[peer_id]
                self._paces.pop(peer_id, None)
                self._forget_all_subscriptions(peer_id)

    async def _pace(self, peer_id: Any, rpc: Any) -> None:
        pace = self._paces.setdefault(peer_id, Pace(UNITS_PER_S, UNITS_BURST))
        units = max(1, len(rpc.publish) + _count_control(rpc))
        await trio.sleep(pace.spend(units, trio.current_time()))

    def _forget_all_subscriptions(self, peer_id: Any) -> None:
        """What a peer subscribed to holds as long as the stream that carried it. Stock forgets it
        when *our* stream to the peer ends, and is told again only after a reconnection."""
        if peer_id not in self._readers:
            super()._forget_all_subscriptions(peer_id)

    async def _handle_new_peer(self, peer_id: Any) -> None:
        """A peer that is back before stock has noticed that it was gone gets a new stream; and one
        whose subscriptions we know joins the mesh now, not at the next heartbeat."""
        self._drop_dead_stream(peer_id)
        await super()._handle_new_peer(peer_id)
        for topic, peers in tuple(self.peer_topics.items()):
            if peer_id in peers:
                await self.router.on_peer_subscribed(peer_id, topic)

    async def handle_dead_peer_queue(self) -> None:
        """Stock does nothing while the peer has another connection, though its stream was on this
        one."""
        async with self.dead_peer_receive_channel:
            self.event_handle_dead_peer_queue_started.set()
            async for peer_id in self.dead_peer_receive_channel:
                self._drop_dead_stream(peer_id)

    def _drop_dead_stream(self, peer_id: Any) -> None:
        """Forget our stream to a peer if its connection ended; stock opens another if it can."""
        stream = self.peers.get(peer_id)
        if stream is not None and stream.muxed_conn.event_shutting_down.is_set():
            self._handle_dead_peer(peer_id)

    async def _handle_rpc(self, peer_id: Any, rpc: Any) -> None:
        for subscription in rpc.subscriptions:
            self.handle_subscription(peer_id, subscription)
        for message in rpc.publish:
            await self.push_msg(peer_id, message)
        if rpc.HasField("control"):
            await self.router.handle_rpc(rpc, peer_id)

    async def push_msg(self, msg_forwarder: Any, msg: Any) -> None:
        """Judge a message, deliver it if accepted, and pass it on. Our own go straight out."""
        if msg_forwarder != self.my_id:
            peer = msg_forwarder.to_bytes()
            try:
                verdict = await self._examine(peer, msg)
            except Exception:  # a bug of ours in judging must not end the process
                log.exception("judging a gossip message failed")
                return
            if verdict is Verdict.REJECT:
                self._blame(peer, REJECTED, "gossip_rejected")
            if verdict is not Verdict.ACCEPT:
                return
        else:
            self._mark_msg_seen(msg)
        await self.router.publish(msg_forwarder, msg)

    async def _examine(self, peer: bytes, msg: Any) -> Verdict:
        if len(msg.topicIDs) != 1 or len(msg.data) > MESSAGE_BYTES_MAX:
            return Verdict.REJECT
        if len(msg.seqno) != SEQUENCE_BYTES or len(msg.from_id) > PEER_ID_BYTES_MAX:
            return Verdict.REJECT
        if msg.topicIDs[0] not in self.topic_ids or self._is_msg_seen(msg):
            return Verdict.IGNORE
        if msg.from_id == self.my_id.to_bytes():
            return Verdict.IGNORE
        if not _is_signed(msg):
            return Verdict.REJECT
        # Before judging, so that copies from other peers are not judged at the same time.
        self._mark_msg_seen(msg)
        verdict = Verdict.IGNORE
        with trio.move_on_after(VALIDATION_S_MAX):
            verdict = await self._judge(peer, msg)
        return verdict


def _parse_rpc(frame: bytes) -> Any:
    """Raises Invalid(`rpc_malformed`)."""
    rpc = rpc_pb2.RPC()
    try:
        rpc.ParseFromString(frame)
    except DecodeError:
        raise Invalid("rpc_malformed", "a gossip RPC is no protobuf") from None
    if (
        len(rpc.subscriptions) > SUBSCRIPTIONS_PER_RPC_MAX
        or len(rpc.publish) > MESSAGES_PER_RPC_MAX
        or _count_control(rpc) > CONTROL_PER_RPC_MAX
    ):
        raise Invalid("rpc_malformed", "a gossip RPC has too many entries")
    return rpc


def _count_control(rpc: Any) -> int:
    control = rpc.control
    return sum(map(len, (control.ihave, control.iwant, control.graft, control.prune)))


def _is_signed(msg: Any) -> bool:
    """Stock's check, which raises whatever the key parser raises."""
    try:
        return bool(signature_validator(msg))
    except Exception:  # noqa: BLE001 - a key that does not parse signed nothing
        return False


def make_pubsub(host: Any, topics: frozenset[str], judge: Judge, blame: Penalize) -> GuardedPubsub:
    """A pubsub service with its router, attached to libp2p's host but not yet running."""
    return GuardedPubsub(host, GuardedRouter(), topics, judge, blame)


def origin_of(msg: Any) -> bytes:
    """Binary peer id of the node that published a message."""
    return bytes(ID(msg.from_id).to_bytes())
