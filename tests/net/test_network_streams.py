"""Committee streams between hosts on loopback."""

import struct
from socket import SO_RCVBUF, SO_SNDBUF, SOL_SOCKET
from statistics import median

import pytest
import trio
from libp2p.stream_muxer.yamux.yamux import FLAG_SYN, TYPE_PING, YAMUX_HEADER_FORMAT

from p2p_aios.errors import Invalid
from p2p_aios.network.host import open_host
from p2p_aios.network.identity import parse_address
from p2p_aios.network.node import Network
from p2p_aios.network.streams import (
    BULK_BYTES_MAX,
    BULK_QUEUED_MAX,
    URGENT_BYTES_MAX,
    Frame,
    PeerJoined,
    PeerLeft,
)

VOTES, PROPOSALS = 40, 8
VOTE_BYTES, PROPOSAL_BYTES = 300, 600 * 1024
OVERTAKEN_AT_LEAST = 2
"""How many times longer than a vote a proposal takes at the median: in one queue, equally long."""


def stamped(number: int, size: int) -> bytes:
    """A frame's body: its number, when it was sent, padding."""
    stamp = int(trio.current_time() * 1e6)
    return number.to_bytes(4, "big") + stamp.to_bytes(8, "big") + bytes(size - 12)


async def test_votes_and_proposals_all_to_all_lose_nothing_and_votes_overtake(loopback):
    delays_s: dict[bool, list[float]] = {True: [], False: []}

    async def send(node: Network) -> None:
        for number in range(VOTES):
            if number % 5 == 0:
                assert node.committee.broadcast(stamped(number, PROPOSAL_BYTES), urgent=False) == 3
            assert node.committee.broadcast(stamped(number, VOTE_BYTES), urgent=True) == 3
            await trio.sleep(0.05)

    async def receive(node: Network) -> None:
        heard: dict[tuple[bytes, bool], list[int]] = {}
        for _ in range(3 * (VOTES + PROPOSALS)):
            event = await node.committee.events.receive()
            assert isinstance(event, Frame)
            assert len(event.data) == (VOTE_BYTES if event.urgent else PROPOSAL_BYTES)
            number = int.from_bytes(event.data[:4], "big")
            heard.setdefault((event.peer, event.urgent), []).append(number)
            sent_s = int.from_bytes(event.data[4:12], "big") / 1e6
            delays_s[event.urgent].append(trio.current_time() - sent_s)
        assert len(heard) == 6
        for (_, urgent), numbers in heard.items():
            assert numbers == list(range(0, VOTES, 1 if urgent else 5))

    async with loopback.open_committee(4) as nodes:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for node in nodes:
                    nursery.start_soon(send, node)
                    nursery.start_soon(receive, node)
        assert not any(node.committee.dropped for node in nodes)
    assert median(delays_s[False]) > OVERTAKEN_AT_LEAST * median(delays_s[True])


async def test_who_is_no_member_is_refused(loopback):
    async with loopback.open_mesh(3) as (first, second, stranger):
        members = [first.peer, second.peer]
        first.committee.set_committee(members)
        second.committee.set_committee(members)
        stranger.committee.set_committee([*members, stranger.peer])
        with trio.fail_after(5):
            assert await first.committee.events.receive() == PeerJoined(second.peer)
            assert await second.committee.events.receive() == PeerJoined(first.peer)
        await trio.sleep(0.5)
        assert first.committee.joined() == {second.peer}
        assert not stranger.committee.joined()
        assert not stranger.committee.send(first.peer, b"let me in", urgent=True)
        protocol = first.host.config.protocol("committee-urgent")
        stream = await stranger.host.open_stream(first.peer, protocol)
        with trio.fail_after(5):
            assert await stream.read() == b""
        # Once named by everybody, it joins by itself.
        for node in (first, second):
            node.committee.set_committee([*members, stranger.peer])
        await loopback.until(lambda: stranger.committee.joined() == set(members))


async def test_who_leaves_the_committee_is_cut_off_and_nobody_else(loopback):
    async with loopback.open_committee(3) as (first, second, third):
        first.committee.set_committee([first.peer, second.peer])
        second.committee.set_committee([first.peer, second.peer])
        with trio.fail_after(5):
            left = {await third.committee.events.receive() for _ in range(2)}
        assert left == {PeerLeft(first.peer), PeerLeft(second.peer)}
        assert first.committee.send(second.peer, b"still here", urgent=True)
        with trio.fail_after(5):
            assert await second.committee.events.receive() == Frame(first.peer, b"still here", True)
        assert not first.committee.send(third.peer, b"gone", urgent=True)


async def test_oversized_frames_are_refused_on_both_sides(loopback):
    async with loopback.open_committee(2) as (node, other):
        for urgent, limit in ((True, URGENT_BYTES_MAX), (False, BULK_BYTES_MAX)):
            with pytest.raises(Invalid, match="too_large"):
                node.committee.send(other.peer, bytes(limit + 1), urgent=urgent)
            assert node.committee.send(other.peer, bytes(limit), urgent=urgent)
        with trio.fail_after(5):
            sizes = {len((await other.committee.events.receive()).data) for _ in range(2)}
        assert sizes == {URGENT_BYTES_MAX, BULK_BYTES_MAX}
        protocol = node.host.config.protocol("committee-urgent")
        stream = await node.host.open_stream(other.peer, protocol)
        await stream.read()
        await stream.write((URGENT_BYTES_MAX + 1).to_bytes(4, "big"))
        await loopback.until(lambda: other.host.is_banned(node.peer))
        await loopback.until(lambda: not other.host.is_connected(node.peer))


async def test_what_full_outboxes_lose_is_counted_at_once_and_once(loopback):
    async with loopback.open_committee(2) as (node, other):
        for number in range(BULK_QUEUED_MAX + 9):
            assert node.committee.send(other.peer, bytes([number]), urgent=False)
        assert node.committee.dropped == 9
        node.committee.set_committee([node.peer])
        await loopback.until(lambda: not other.committee._inbound)
        assert node.committee.dropped == 9


@pytest.mark.slow
async def test_a_member_that_does_not_read_is_noticed_and_holds_up_nobody(loopback):
    """It accepts our streams and then never takes a byte from them."""

    async def deaf(stream) -> None:
        await stream.write(b"\x01")
        await trio.sleep_forever()

    async with (
        loopback.open_committee(2) as (node, other),
        open_host(loopback.config(9)) as silent,
    ):
        for name in ("committee-urgent", "committee-bulk"):
            silent.serve(silent.config.protocol(name), deaf)
        await silent.dial(parse_address(node.addresses[0]))
        node.committee.set_committee([node.peer, other.peer, silent.peer])
        with trio.fail_after(5):
            assert await node.committee.events.receive() == PeerJoined(silent.peer)
        for k in range(16):
            node.committee.broadcast(bytes([k]) * 500_000, urgent=False)
            with trio.fail_after(5):
                assert (await other.committee.events.receive()).data[0] == k
        with trio.fail_after(12):
            assert await node.committee.events.receive() == PeerLeft(silent.peer)


async def test_cancelled_writes_and_reads_leave_the_connection_whole(loopback):
    """In stock, cancelling a write between cipher and socket garbles every later frame."""

    async def swallow(stream) -> None:
        while await stream.read():
            pass

    async with loopback.open_committee(2) as (node, other):
        for host in (node.host, other.host):
            host.serve("/test/swallow/1", swallow)
        for attempt in range(60):
            stream = await node.host.open_stream(other.peer, "/test/swallow/1")
            with trio.move_on_after(0.0002 * attempt):
                await stream.write(bytes(4 << 20))
            await stream.reset()
        assert node.committee.send(other.peer, b"whole", urgent=True)
        with trio.fail_after(5):
            assert await other.committee.events.receive() == Frame(node.peer, b"whole", True)


async def test_a_second_stream_of_a_member_replaces_its_first(loopback):
    async with loopback.open_committee(2) as (node, other):
        protocol = node.host.config.protocol("committee-urgent")
        stream = await node.host.open_stream(other.peer, protocol)
        assert await stream.read() == b"\x01"
        with trio.fail_after(5):
            assert await node.committee.events.receive() == PeerLeft(other.peer)
            assert await node.committee.events.receive() == PeerJoined(other.peer)
        with trio.fail_after(5):
            assert await stream.read() == b""


async def test_ends_that_ping_each_other_over_full_sockets_still_read(loopback):
    """Stock's reader writes the answer to a ping itself, and waits for room that only the other
    reader can make, which waits likewise."""

    async def ping_on(node: Network) -> None:
        connection = node.host._swarm.get_connections()[0].muxed_conn
        frame = struct.pack(YAMUX_HEADER_FORMAT, 0, TYPE_PING, FLAG_SYN, 0, 7)
        for _ in range(400):
            await connection._write_frame(frame)

    async with loopback.open_committee(2) as nodes:
        for node in nodes:
            socket = node.host._swarm.get_connections()[0].muxed_conn.secured_conn
            raw = socket.conn.read_writer.read_write_closer.stream.stream
            raw.setsockopt(SOL_SOCKET, SO_SNDBUF, 32768)
            raw.setsockopt(SOL_SOCKET, SO_RCVBUF, 32768)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for node in nodes:
                    for _ in range(12):
                        node.committee.broadcast(bytes(600_000), urgent=False)
                    nursery.start_soon(ping_on, node)
                for node in nodes:
                    for _ in range(12):
                        assert isinstance(await node.committee.events.receive(), Frame)
