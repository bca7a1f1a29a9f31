"""Gossip: what everybody shall hear. Blocks, transaction batches and announcements.

Gossip costs every node about a millisecond of CPU per message, so messages are batched by their
senders: aim at `MESSAGE_BYTES_TARGET`, and announce what is larger for others to pull by request.
Delivery is best effort; a consumer that falls behind loses the oldest messages first.
"""

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import trio
from libp2p.tools.anyio_service import background_trio_service

from p2p_aios.errors import Invalid, invariant
from p2p_aios.network.host import Host
from p2p_aios.network.lifetime import open_shielded
from p2p_aios.network.pubsub import MESSAGE_BYTES_MAX, Verdict, make_pubsub, origin_of

MESSAGE_BYTES_TARGET: Final = 64 * 1024
"""What a sender batches up to."""
QUEUE_MESSAGES_MAX: Final = 1024
QUEUE_BYTES_MAX: Final = 16 << 20
"""Accepted messages of one topic that wait for their consumer."""

log = logging.getLogger(__name__)


class Topic(StrEnum):
    """The gossip topics of a chain."""

    BLOCKS = "blocks"
    TRANSACTIONS = "transactions"
    BLOBS = "blobs"


@dataclass(frozen=True, slots=True)
class GossipMessage:
    """One message as it arrived: signed by its origin, not seen before."""

    topic: Topic
    peer: bytes
    """Who passed it on to us."""
    origin: bytes
    """Who published and signed it."""
    data: bytes


Validate = Callable[[GossipMessage], Awaitable[Verdict]]
"""Judges a message before it is passed on; has `pubsub.VALIDATION_S_MAX` seconds. It decodes, and
may keep what it decoded: what it accepts is delivered next, in the same order per peer."""


class Messages:
    """The accepted messages of one topic: `async for message in messages`."""

    def __init__(self) -> None:
        self._waiting: deque[GossipMessage] = deque()
        self._bytes = 0
        self._arrived = trio.Event()
        self.dropped = 0
        """How many were lost because the consumer fell behind."""

    def put(self, message: GossipMessage) -> None:
        """Add one; drops the oldest while over the bounds."""
        self._waiting.append(message)
        self._bytes += len(message.data)
        while len(self._waiting) > QUEUE_MESSAGES_MAX or self._bytes > QUEUE_BYTES_MAX:
            self._bytes -= len(self._waiting.popleft().data)
            self.dropped += 1
        self._arrived.set()

    def __aiter__(self) -> AsyncIterator[GossipMessage]:
        return self

    async def __anext__(self) -> GossipMessage:
        while not self._waiting:
            self._arrived = trio.Event()
            await self._arrived.wait()
        await trio.lowlevel.checkpoint()
        message = self._waiting.popleft()
        self._bytes -= len(message.data)
        return message


class Gossip:
    """The running gossip service. Create it with `open_gossip`."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._names = {topic: host.config.protocol(topic) for topic in Topic}
        self._topics = {name: topic for topic, name in self._names.items()}
        self._joined: dict[Topic, tuple[Validate, Messages]] = {}
        self._pubsub = make_pubsub(host.lib, frozenset(self._topics), self._judge, host.penalize)

    async def join(self, topic: Topic, validate: Validate) -> Messages:
        """Take part in a topic, once: receive it, and pass on what `validate` accepts."""
        invariant(topic not in self._joined, f"joined {topic} twice")
        messages = Messages()
        self._joined[topic] = (validate, messages)
        await self._pubsub.subscribe(self._names[topic])
        return messages

    async def publish(self, topic: Topic, data: bytes) -> None:
        """Send to everybody in the topic; returns when it is queued for our neighbours.

        We do not receive our own. Raises Invalid(`too_large`).
        """
        if len(data) > MESSAGE_BYTES_MAX:
            raise Invalid(
                "too_large",
                f"{len(data)} bytes cannot be gossiped (limit {MESSAGE_BYTES_MAX});"
                " announce its CID and serve it by request",
                limit=MESSAGE_BYTES_MAX,
            )
        await self._pubsub.publish(self._names[topic], data)

    @property
    def dropped(self) -> int:
        """Messages of all topics that were lost because their consumer fell behind."""
        return sum(messages.dropped for _, messages in self._joined.values())

    def neighbours(self, topic: Topic) -> frozenset[bytes]:
        """Peers to whom we send a topic's messages directly."""
        mesh = self._pubsub.router.mesh.get(self._names[topic], ())
        return frozenset(peer.to_bytes() for peer in mesh)

    async def _judge(self, peer: bytes, msg: Any) -> Verdict:
        topic = self._topics[msg.topicIDs[0]]
        validate, messages = self._joined[topic]
        message = GossipMessage(topic, peer, origin_of(msg), msg.data)
        try:
            verdict = await validate(message)
        except Exception:  # our own fault, so nobody is blamed
            log.exception("validating %s gossip failed", topic)
            return Verdict.IGNORE
        if verdict is Verdict.ACCEPT:
            messages.put(message)
        return verdict


@asynccontextmanager
async def open_gossip(host: Host) -> AsyncIterator[Gossip]:
    """Gossip on a running host."""
    gossip = Gossip(host)
    pubsub = gossip._pubsub

    @asynccontextmanager
    async def run() -> AsyncIterator[Gossip]:
        try:
            async with background_trio_service(pubsub.router), background_trio_service(pubsub):
                await pubsub.wait_until_ready()
                yield gossip
        finally:
            pubsub.seen_messages.stop()

    async with open_shielded(run) as running:
        yield running
