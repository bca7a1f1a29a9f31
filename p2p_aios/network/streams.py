"""Committee streams: votes, certificates and proposals between the committee's members.

Each member keeps two streams open to every other, one way each: an *urgent* one for votes and
certificates, and a *bulk* one for proposals, so that 512 KiB of proposal never stand before a
vote. On the connection below, frames of at most 64 KiB of the two take turns. Streams are
accepted only from members of the committee that the driver names; the acceptor answers with one
byte, so a peer counts as joined when it has let us in.

Nothing here is acknowledged or sent again: a write is not a delivery, a full outbox drops its
oldest frames, and what is queued when a peer leaves is lost. Consensus repeats what matters.
A peer whose kernel closes its sockets (kill -9) has left as soon as the stream ends; one that is
stopped has left when its connection has been silent too long (`connection.SILENCE_S`); one that
does not read has left when a write found no room in its window for 5 s (libp2p's own limit).
"""

import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from p2p_aios.codec.frames import FrameBuffer
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.network.host import Host
from p2p_aios.network.identity import format_peer
from p2p_aios.network.outbox import Outbox
from p2p_aios.network.wire import FRAME_BYTES_MAX, Stream

URGENT_BYTES_MAX: Final = 64 * 1024
"""Largest urgent frame."""
BULK_BYTES_MAX: Final = FRAME_BYTES_MAX
"""Largest bulk frame."""
EVENTS_MAX: Final = 64
"""Events waiting for the driver; beyond it peers are read no further."""
URGENT_QUEUED_MAX: Final = 1024
URGENT_QUEUED_BYTES_MAX: Final = 4 << 20
BULK_QUEUED_MAX: Final = 16
BULK_QUEUED_BYTES_MAX: Final = 8 << 20
ACCEPT_S_MAX: Final = 5.0
RETRY_S: Final = 0.2
RETRY_S_MAX: Final = 2.0
ACCEPTED: Final = b"\x01"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PeerJoined:
    """A member has accepted our streams: what is sent to it now can arrive."""

    peer: bytes


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """Our streams to a member ended; it is being tried again. (Not told of peers that
    `set_committee` removed.)"""

    peer: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """What a member sent."""

    peer: bytes
    data: bytes
    urgent: bool


CommitteeEvent = PeerJoined | PeerLeft | Frame


@dataclass(slots=True, eq=False)
class _Lane:
    """One of the two streams to a peer."""

    protocol: str
    outbox: Outbox


@dataclass(slots=True, eq=False)
class _Link:
    """Our sending side towards one member."""

    peer: bytes
    urgent: _Lane
    bulk: _Lane
    is_joined: bool = False
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)

    @property
    def lanes(self) -> tuple[_Lane, _Lane]:
        return self.urgent, self.bulk


class CommitteeStreams:
    """The streams of one node. `run` must be running for anything to happen."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._protocols = {
            True: host.config.protocol("committee-urgent"),
            False: host.config.protocol("committee-bulk"),
        }
        self._members: frozenset[bytes] = frozenset()
        self._links: dict[bytes, _Link] = {}
        self._inbound: dict[tuple[bytes, bool], Stream] = {}
        self._nursery: trio.Nursery | None = None
        self._send_event: trio.MemorySendChannel[CommitteeEvent]
        self.events: trio.MemoryReceiveChannel[CommitteeEvent]
        """Everything that happens, in order per peer: `async for event in committee.events`."""
        self._send_event, self.events = trio.open_memory_channel(EVENTS_MAX)
        self._dropped_before = 0
        for urgent, protocol in self._protocols.items():
            host.serve(protocol, partial(self._receive, urgent))

    def set_committee(self, peers: Collection[bytes]) -> None:
        """Name the members, ourselves among them or not. If not, we neither open nor accept.

        Streams to and from those who are no longer members are closed.
        """
        members = frozenset(peers)
        self._members = members if self._host.peer in members else frozenset()
        others = self._members - {self._host.peer}
        self._host.set_known("committee", others)
        for peer in self._links.keys() - others:
            link = self._links.pop(peer)
            self._dropped_before += sum(lane.outbox.dropped for lane in link.lanes)
            link.scope.cancel()
        for peer in others - self._links.keys():
            self._links[peer] = self._make_link(peer)
            if self._nursery is not None:
                self._nursery.start_soon(self._keep, self._links[peer])
        for (peer, _), stream in tuple(self._inbound.items()):
            if peer not in others and self._nursery is not None:
                self._nursery.start_soon(stream.reset)

    def send(self, peer: bytes, data: bytes, *, urgent: bool) -> bool:
        """Queue a frame for a member; False if it has not joined (the frame is dropped).

        Raises Invalid(`too_large`).
        """
        limit = URGENT_BYTES_MAX if urgent else BULK_BYTES_MAX
        if len(data) > limit:
            raise Invalid("too_large", f"{len(data)} bytes; a frame holds {limit}", limit=limit)
        link = self._links.get(peer)
        if link is None or not link.is_joined:
            return False
        (link.urgent if urgent else link.bulk).outbox.put(data)
        return True

    def broadcast(self, data: bytes, *, urgent: bool) -> int:
        """Queue a frame for every joined member; how many that are.

        Raises Invalid(`too_large`).
        """
        return sum(self.send(peer, data, urgent=urgent) for peer in tuple(self._links))

    @property
    def dropped(self) -> int:
        """Frames lost to full outboxes, those of members that have left included."""
        lanes = [lane for link in self._links.values() for lane in link.lanes]
        return self._dropped_before + sum(lane.outbox.dropped for lane in lanes)

    @property
    def others(self) -> frozenset[bytes]:
        """The members besides ourselves; empty where we are none."""
        return self._members - {self._host.peer}

    def joined(self) -> frozenset[bytes]:
        """Members that have let us in."""
        return frozenset(link.peer for link in self._links.values() if link.is_joined)

    async def run(self) -> None:
        """Keep the streams until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for link in self._links.values():
                nursery.start_soon(self._keep, link)
            await trio.sleep_forever()

    def _make_link(self, peer: bytes) -> _Link:
        return _Link(
            peer,
            _Lane(self._protocols[True], Outbox(URGENT_QUEUED_MAX, URGENT_QUEUED_BYTES_MAX)),
            _Lane(self._protocols[False], Outbox(BULK_QUEUED_MAX, BULK_QUEUED_BYTES_MAX)),
        )

    async def _keep(self, link: _Link) -> None:
        """Open the streams to a member again whenever they end, until it is a member no more."""
        with link.scope:
            retry_s = RETRY_S
            while True:
                await self._host.wait_connected(link.peer)
                if await self._hold(link):
                    retry_s = RETRY_S
                await trio.sleep(retry_s)
                retry_s = min(2 * retry_s, RETRY_S_MAX)

    async def _hold(self, link: _Link) -> bool:
        """Open the streams once and write to them till they end; whether the peer let us in."""
        streams: list[Stream] = []
        try:
            with trio.move_on_after(ACCEPT_S_MAX):
                for lane in link.lanes:
                    streams.append(await self._host.open_stream(link.peer, lane.protocol))
                for stream in streams:
                    if await stream.read() != ACCEPTED:
                        return False
                link.is_joined = True
            if not link.is_joined:
                return False
            log.debug("peer=%s committee streams open", format_peer(link.peer))
            await self._send_event.send(PeerJoined(link.peer))
            await self._write_until_lost(link, streams)
        except Unavailable as error:
            log.debug("peer=%s committee streams: %s", format_peer(link.peer), error.message)
        finally:
            was_joined = await self._let_go(link, streams)
        return was_joined

    async def _let_go(self, link: _Link, streams: list[Stream]) -> bool:
        was_joined, link.is_joined = link.is_joined, False
        for lane in link.lanes:
            lane.outbox.clear()
        for stream in streams:
            await stream.reset()
        if was_joined:
            await self._send_event.send(PeerLeft(link.peer))
        return was_joined

    async def _write_until_lost(self, link: _Link, streams: list[Stream]) -> None:
        """Returns when either stream ended, for whatever reason."""
        async with trio.open_nursery() as nursery:

            async def until_lost(work: Callable[[], Awaitable[None]]) -> None:
                try:
                    await work()
                except Unavailable as error:
                    log.debug("peer=%s %s", format_peer(link.peer), error.message)
                nursery.cancel_scope.cancel()

            for lane, stream in zip(link.lanes, streams, strict=True):
                nursery.start_soon(until_lost, partial(_write_forever, lane, stream))
                nursery.start_soon(until_lost, partial(_watch_end, stream))

    async def _receive(self, urgent: bool, stream: Stream) -> None:
        """Serve one inbound stream for as long as it lasts.

        Raises Invalid(`frame_too_large`), Unavailable(`stream_lost`).
        """
        if stream.peer not in self._members:
            raise Unavailable("not_a_member", "committee streams are for the committee")
        key = (stream.peer, urgent)
        older = self._inbound.pop(key, None)
        self._inbound[key] = stream
        try:
            if older is not None:
                await older.reset()
            await stream.write(ACCEPTED)
            buffer = FrameBuffer(URGENT_BYTES_MAX if urgent else BULK_BYTES_MAX)
            while (data := await stream.read()) and stream.peer in self._members:
                buffer.feed(data)
                while (frame := buffer.next_frame()) is not None:
                    await self._send_event.send(Frame(stream.peer, frame, urgent))
            await stream.reset()
        finally:
            if self._inbound.get(key) is stream:
                del self._inbound[key]


async def _write_forever(lane: _Lane, stream: Stream) -> None:
    while True:
        await stream.write(await lane.outbox.take_batch())


async def _watch_end(stream: Stream) -> None:
    """The acceptor writes nothing more, so whatever is read now is the end."""
    await stream.read()
