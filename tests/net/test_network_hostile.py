"""What a hostile peer can send, and a victim in this very process that survives it.

The first four tests are the inputs that end a stock py-libp2p 0.8.1 process: there, the exception
reaches the swarm's nursery, and would here reach the test.
"""

import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

import pytest
import trio
from libp2p.pubsub.pb import rpc_pb2
from libp2p.utils import encode_varint_prefixed

from p2p_aios.codec.frames import encode_frame
from p2p_aios.errors import Unavailable
from p2p_aios.network.gossip import GossipMessage, Topic
from p2p_aios.network.host import Host, open_host
from p2p_aios.network.identity import parse_address
from p2p_aios.network.node import Network, open_network
from p2p_aios.network.pubsub import (
    CONTROL_PER_RPC_MAX,
    STREAMS_PER_PEER_MAX,
    UNITS_BURST,
    UNITS_PER_S,
    Verdict,
)
from p2p_aios.network.requests import ANSWERING_PER_PEER_MAX, ANSWERING_STRANGERS_MAX
from p2p_aios.network.router import IDS_PER_RPC_MAX
from p2p_aios.network.wire import Stream

MESHSUB = "/meshsub/1.1.0"


@asynccontextmanager
async def attacked(loopback, accept_all) -> AsyncIterator[tuple[Network, Host]]:
    """A victim and a connected attacker; afterwards the victim must still serve an honest peer."""
    async with open_network(loopback.config(0)) as victim:
        received = await victim.gossip.join(Topic.BLOCKS, accept_all)
        victim.requests.serve(lambda _peer, question: answer(question))
        async with open_host(loopback.config(66)) as attacker:
            await attacker.dial(parse_address(victim.addresses[0]))
            yield victim, attacker
            async with open_network(loopback.config(1, *victim.addresses)) as honest:
                await honest.gossip.join(Topic.BLOCKS, accept_all)
                await loopback.until(lambda: honest.gossip.neighbours(Topic.BLOCKS))
                assert (
                    await honest.requests.request(
                        victim.peer, b"still there?", deadline_s=5, bytes_max=99
                    )
                    == b"still there?!"
                )
                await honest.gossip.publish(Topic.BLOCKS, b"honest")
                with trio.fail_after(5):
                    assert (await anext(received)).data == b"honest"


async def answer(question: bytes) -> bytes:
    return question + b"!"


def rpc_with(attacker: Host, **fields: object) -> bytes:
    topic = attacker.config.protocol(Topic.BLOCKS)
    message = {"data": b"d", "topicIDs": [topic], "from_id": attacker.peer, "seqno": bytes(8)}
    rpc = rpc_pb2.RPC(publish=[rpc_pb2.Message(**(message | fields))])
    return encode_varint_prefixed(rpc.SerializeToString())


async def is_banned(loopback, victim: Network, attacker: Host) -> None:
    """Disconnected, and refused when it comes again."""
    await loopback.until(lambda: not attacker.is_connected(victim.peer))
    with contextlib.suppress(Unavailable):
        await attacker.dial(parse_address(victim.addresses[0]))
    with pytest.raises(Unavailable):
        await attacker.open_stream(victim.peer, MESHSUB)
    assert victim.host.is_banned(attacker.peer)


async def test_garbage_protobuf_bans_the_sender_only(loopback, accept_all):
    async with attacked(loopback, accept_all) as (victim, attacker):
        stream = await attacker.open_stream(victim.peer, MESHSUB)
        await stream.write(b"\x20" + b"\xff" * 32)
        await is_banned(loopback, victim, attacker)


async def test_signed_message_with_a_malformed_key_is_rejected(loopback, accept_all):
    async with attacked(loopback, accept_all) as (victim, attacker):
        stream = await attacker.open_stream(victim.peer, MESHSUB)
        hashed_peer_id = bytes.fromhex("1220") + b"\x01" * 32
        for key in (b"\xff\xff\xff", b"\x08\x00\x12\x04abcd", b""):
            await stream.write(
                rpc_with(attacker, from_id=hashed_peer_id, key=key, signature=b"s" * 64)
            )
        await stream.write(rpc_with(attacker, signature=b"s" * 64))
        await is_banned(loopback, victim, attacker)


async def test_exception_in_a_validator_costs_one_message(loopback):
    async def fragile(message: GossipMessage) -> Verdict:
        if message.data == b"boom":
            raise ValueError("validator bug")
        return Verdict.ACCEPT

    async with attacked(loopback, fragile) as (victim, attacker):
        async with open_network(loopback.config(7, *victim.addresses)) as provoker:
            await provoker.gossip.join(Topic.BLOCKS, fragile)
            await loopback.until(lambda: provoker.gossip.neighbours(Topic.BLOCKS))
            await provoker.gossip.publish(Topic.BLOCKS, b"boom")
            await trio.sleep(0.2)
            assert not victim.host.is_banned(provoker.peer)
        assert attacker.is_connected(victim.peer)


async def test_exception_in_a_stream_handler_costs_one_stream(loopback, accept_all):
    async def fragile(stream: Stream) -> None:
        await stream.read()
        raise ValueError("handler bug")

    async with attacked(loopback, accept_all) as (victim, attacker):
        victim.host.serve("/test/fragile/1", fragile)
        stream = await attacker.open_stream(victim.peer, "/test/fragile/1")
        await stream.write(b"x")
        with trio.fail_after(5):
            assert await stream.read() == b""
        assert attacker.is_connected(victim.peer)


async def test_garbage_on_the_tcp_port_disturbs_nobody(loopback, accept_all):
    async with attacked(loopback, accept_all) as (victim, _attacker):
        port = int(victim.addresses[0].split("/")[4])
        silent = []
        for index in range(60):
            socket = await trio.open_tcp_stream("127.0.0.1", port)
            if index % 3 == 0:
                silent.append(socket)
                continue
            await socket.send_all(
                os.urandom(1 + 50 * index) if index % 3 == 1 else b"GET /\r\n\r\n"
            )
            await socket.aclose()
        assert len(silent) == 20


async def test_bogus_frames_inside_the_encrypted_connection_end_it(loopback, accept_all):
    async with attacked(loopback, accept_all) as (victim, attacker):
        secured = attacker._swarm.get_connections()[0].muxed_conn.secured_conn
        await secured.write(bytes.fromhex("000000010000000100100001"))  # DATA, 1 MiB + 1 to come
        await secured.write(os.urandom(4000))
        await secured.close()
        await loopback.until(lambda: not victim.host.is_connected(attacker.peer))


async def test_oversized_announcement_and_spoofed_topics_are_garbage(loopback, accept_all):
    async with attacked(loopback, accept_all) as (victim, attacker):
        stream = await attacker.open_stream(victim.peer, MESHSUB)
        await stream.write(rpc_with(attacker, topicIDs=["elsewhere"]))
        await trio.sleep(0.1)
        assert not victim.host.is_banned(attacker.peer)
        await stream.write(b"\xff\xff\xff\x7f" + b"a" * 1000)
        await is_banned(loopback, victim, attacker)


async def test_control_entries_about_unknown_topics_leave_no_trace(loopback, accept_all):
    async with attacked(loopback, accept_all) as (victim, attacker):
        router = victim.gossip._pubsub.router
        stream = await attacker.open_stream(victim.peer, MESHSUB)
        control = rpc_pb2.ControlMessage(
            ihave=[rpc_pb2.ControlIHave(topicID=f"t{i}", messageIDs=[b"\xff"]) for i in range(50)],
            iwant=[rpc_pb2.ControlIWant(messageIDs=[b"zz"] * 1000)],
            graft=[rpc_pb2.ControlGraft(topicID=f"t{i}") for i in range(50)],
            prune=[rpc_pb2.ControlPrune(topicID=f"t{i}", backoff=1 << 62) for i in range(50)],
        )
        subscriptions = [rpc_pb2.RPC.SubOpts(subscribe=True, topicid=f"t{i}") for i in range(20)]
        rpc = rpc_pb2.RPC(control=control, subscriptions=subscriptions)
        await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
        await trio.sleep(0.2)
        assert not router.back_off
        assert not any(router.graft_flood_tracking.values())
        assert set(router.pubsub.peer_topics) <= {victim.host.config.protocol(t) for t in Topic}


async def test_a_peer_may_hold_only_so_many_streams(loopback, accept_all):
    async with attacked(loopback, accept_all) as (victim, attacker):
        protocol = victim.host.config.protocol("request")
        opened = 0
        while opened < 100:
            try:
                stream = await attacker.open_stream(victim.peer, protocol)
                await stream.write(encode_frame(b"x" * 10)[:6])
            except Unavailable:
                break
            opened += 1
        assert 8 <= opened <= 64


async def test_a_flood_that_ignores_its_window_is_cut_off(loopback, accept_all):
    async def never_reads(_stream: Stream) -> None:
        await trio.sleep(20)

    async with attacked(loopback, accept_all) as (victim, attacker):
        victim.host.serve("/test/deaf/1", never_reads)
        stream = await attacker.open_stream(victim.peer, "/test/deaf/1")
        stream._stream.muxed_stream.send_window = 1 << 40
        with trio.fail_after(5), contextlib.suppress(Unavailable):
            for _ in range(40):
                await stream.write(bytes(1 << 20))
            raise AssertionError("40 MiB were taken unread")
        await loopback.until(lambda: not victim.host.is_connected(attacker.peer))


async def test_accepting_and_losing_peers_uses_up_no_slots(loopback):
    """Stock keeps the slot of every connection it ever accepted."""
    async with open_network(loopback.config(0, connections_max=4, known_reserved=0)) as victim:
        victim.host._swarm._inbound_limiter.total_tokens = 4
        for index in range(12):
            async with open_host(loopback.config(100 + index)) as visitor:
                await visitor.dial(parse_address(victim.addresses[0]))
            await loopback.until(lambda: not victim.peers.connected())
        await loopback.until(lambda: victim.host._swarm._inbound_limiter.borrowed_tokens == 0)
        assert not [p for p in victim.host._swarm.peerstore.peer_ids() if p != victim.host.peer]


async def test_full_nodes_keep_room_for_the_peers_they_know(loopback):
    config = loopback.config(0, connections_max=3, known_reserved=1)
    async with open_network(config) as node:
        node.host.set_known("test", frozenset({loopback.peer_id(9)}))
        async with (
            open_host(loopback.config(1)) as first,
            open_host(loopback.config(2)) as second,
            open_host(loopback.config(3)) as third,
            open_host(loopback.config(9)) as known,
        ):
            for host in (first, second, third, known):
                with trio.move_on_after(5):
                    try:
                        await host.dial(parse_address(node.addresses[0]))
                    except Unavailable:
                        continue
            await loopback.until(lambda: not third.is_connected(node.peer))
            peers = {connection.peer for connection in node.peers.connected()}
            assert peers == {first.peer, second.peer, known.peer}


async def test_control_entries_without_number_are_garbage(loopback, accept_all):
    """A MiB of GRAFTs is 25,000 entries, each answered with a PRUNE in stock."""
    async with attacked(loopback, accept_all) as (victim, attacker):
        topic = attacker.config.protocol(Topic.BLOCKS)
        stream = await attacker.open_stream(victim.peer, MESHSUB)
        grafts = [rpc_pb2.ControlGraft(topicID=topic)] * (CONTROL_PER_RPC_MAX + 1)
        rpc = rpc_pb2.RPC(control=rpc_pb2.ControlMessage(graft=grafts))
        await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
        await is_banned(loopback, victim, attacker)


async def test_an_rpc_has_only_so_many_ids_wanted_of_it(loopback, accept_all):
    async with attacked(loopback, accept_all) as (victim, attacker):
        topic = attacker.config.protocol(Topic.BLOCKS)
        wanted = []

        async def emit_iwant(ids: list[bytes], _peer: object) -> None:
            wanted.extend(ids)

        victim.gossip._pubsub.router.emit_iwant = emit_iwant
        stream = await attacker.open_stream(victim.peer, MESHSUB)
        ihave = [
            rpc_pb2.ControlIHave(
                topicID=topic, messageIDs=[f"{n:04x}{i:04x}".encode() for i in range(100)]
            )
            for n in range(20)
        ]
        rpc = rpc_pb2.RPC(control=rpc_pb2.ControlMessage(ihave=ihave))
        await stream.write(encode_varint_prefixed(rpc.SerializeToString()))
        await loopback.until(lambda: len(wanted) >= IDS_PER_RPC_MAX)
        await trio.sleep(0.1)
        assert len(wanted) == IDS_PER_RPC_MAX


async def test_a_flood_of_cheap_rpcs_is_read_no_faster_than_agreed(loopback, accept_all):
    """An empty RPC is one byte to send and a task's turn to handle."""
    async with attacked(loopback, accept_all) as (victim, attacker):
        pubsub, handled = victim.gossip._pubsub, 0
        handle = pubsub._handle_rpc

        async def count(peer_id: object, rpc: object) -> None:
            nonlocal handled
            handled += 1
            await handle(peer_id, rpc)

        pubsub._handle_rpc = count
        stream = await attacker.open_stream(victim.peer, MESHSUB)
        begun_s = trio.current_time()
        await stream.write(bytes(50_000))
        await trio.sleep(1.5)
        passed_s = trio.current_time() - begun_s
        assert UNITS_BURST <= handled <= UNITS_BURST + UNITS_PER_S * passed_s + 1
        assert not victim.host.is_banned(attacker.peer)


async def test_a_peer_has_only_so_many_gossip_streams(loopback, accept_all):
    """Each holds the beginning of a frame, of up to a MiB."""
    async with attacked(loopback, accept_all) as (victim, attacker):
        pubsub = victim.gossip._pubsub
        for _ in range(2 * STREAMS_PER_PEER_MAX):
            stream = await attacker.open_stream(victim.peer, MESHSUB)
            with contextlib.suppress(Unavailable):
                await stream.write(b"\xff")
            await trio.sleep(0.05)
        assert max(pubsub._readers.values()) == STREAMS_PER_PEER_MAX


async def test_addresses_are_not_taken_from_who_pushes_them(loopback, accept_all):
    async with attacked(loopback, accept_all) as (victim, attacker):
        with pytest.raises(Unavailable):
            await attacker.open_stream(victim.peer, "/ipfs/id/push/1.0.0")


async def test_strangers_who_take_their_time_do_not_use_up_the_answers(loopback):
    async def answer_slowly(_peer: bytes, question: bytes) -> bytes:
        if question == b"slow":
            await trio.sleep(20)
        return question + b"!"

    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        victim = await enter(open_network(loopback.config(0)))
        victim.requests.serve(answer_slowly)
        # Addresses are not counted on one machine, identities are.
        count = ANSWERING_STRANGERS_MAX // ANSWERING_PER_PEER_MAX + 1
        strangers = [await enter(open_host(loopback.config(100 + n))) for n in range(count)]
        protocol = victim.host.config.protocol("request")
        for stranger in strangers:
            await stranger.dial(parse_address(victim.addresses[0]))
            for _ in range(ANSWERING_PER_PEER_MAX):
                stream = await stranger.open_stream(victim.peer, protocol)
                await stream.write(encode_frame(b"slow"))
        answering = victim.requests._answering
        await loopback.until(lambda: answering.total() == ANSWERING_STRANGERS_MAX)
        friend = await enter(open_network(loopback.config(1, *victim.addresses)))
        await loopback.until(lambda: friend.host.is_connected(victim.peer))
        ask = partial(friend.requests.request, victim.peer, b"you", deadline_s=5, bytes_max=99)
        with pytest.raises(Unavailable) as caught:
            await ask()
        assert caught.value.code == "busy"
        victim.host.set_known("test", frozenset({friend.peer}))
        assert await ask() == b"you!"
