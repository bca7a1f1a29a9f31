"""Gossip between hosts on loopback."""

import pytest
import trio

from p2p_aios.errors import Invalid
from p2p_aios.network.gossip import GossipMessage, Topic
from p2p_aios.network.identity import parse_address
from p2p_aios.network.node import open_network
from p2p_aios.network.pubsub import MESSAGE_BYTES_MAX, Verdict
from p2p_aios.units import Hash


async def test_every_host_receives_every_message_once(loopback, accept_all):
    async with loopback.open_mesh(4) as nodes:
        queues = [await node.gossip.join(Topic.TRANSACTIONS, accept_all) for node in nodes]
        await loopback.until(
            lambda: all(len(n.gossip.neighbours(Topic.TRANSACTIONS)) == 3 for n in nodes)
        )
        expected = {b"%d:%d" % (i, k) + bytes(300) for i in range(4) for k in range(25)}

        async def publish(index: int) -> None:
            for k in range(25):
                data = b"%d:%d" % (index, k) + bytes(300)
                await nodes[index].gossip.publish(Topic.TRANSACTIONS, data)

        async def receive(index: int) -> None:
            messages = [await anext(queues[index]) for _ in range(75)]
            own = {data for data in expected if data.startswith(b"%d:" % index)}
            assert {message.data for message in messages} == expected - own
            assert all(nodes[int(message.data[:1])].peer == message.origin for message in messages)

        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                for index in range(4):
                    nursery.start_soon(publish, index)
                    nursery.start_soon(receive, index)


async def test_large_messages_arrive_and_larger_ones_are_refused(loopback, accept_all):
    async with loopback.open_mesh(2) as nodes:
        queues = [await node.gossip.join(Topic.BLOCKS, accept_all) for node in nodes]
        await loopback.until(lambda: bool(nodes[0].gossip.neighbours(Topic.BLOCKS)))
        with trio.fail_after(10):
            for size in (64 * 1024, MESSAGE_BYTES_MAX):
                await nodes[0].gossip.publish(Topic.BLOCKS, bytes(size))
                assert len((await anext(queues[1])).data) == size
        with pytest.raises(Invalid) as refusal:
            await nodes[0].gossip.publish(Topic.BLOCKS, bytes(MESSAGE_BYTES_MAX + 1))
        assert refusal.value.code == "too_large"


async def test_only_accepted_messages_travel_on(loopback, accept_all):
    """Three hosts in a row: the middle one decides what the last one hears."""
    verdicts = {b"good": Verdict.ACCEPT, b"late": Verdict.IGNORE, b"bad": Verdict.REJECT}

    async def judge(message: GossipMessage) -> Verdict:
        return verdicts[message.data]

    async with (
        open_network(loopback.config(0)) as middle,
        open_network(loopback.config(1, *middle.addresses)) as first,
        open_network(loopback.config(2, *middle.addresses)) as last,
    ):
        await middle.gossip.join(Topic.BLOCKS, judge)
        await first.gossip.join(Topic.BLOCKS, accept_all)
        heard = await last.gossip.join(Topic.BLOCKS, accept_all)
        await loopback.until(lambda: len(middle.gossip.neighbours(Topic.BLOCKS)) == 2)
        for data in (b"late", b"bad", b"good"):
            await first.gossip.publish(Topic.BLOCKS, data)
        with trio.fail_after(5):
            message = await anext(heard)
        assert (message.data, message.origin, message.peer) == (b"good", first.peer, middle.peer)
        for _ in range(4):
            await first.gossip.publish(Topic.BLOCKS, b"bad")
        await loopback.until(lambda: middle.host.is_banned(first.peer))


async def test_a_slow_consumer_loses_the_oldest_messages(loopback, accept_all, monkeypatch):
    monkeypatch.setattr("p2p_aios.network.gossip.QUEUE_MESSAGES_MAX", 10)
    async with loopback.open_mesh(2) as nodes:
        queues = [await node.gossip.join(Topic.BLOBS, accept_all) for node in nodes]
        await loopback.until(lambda: bool(nodes[0].gossip.neighbours(Topic.BLOBS)))
        for k in range(30):
            await nodes[0].gossip.publish(Topic.BLOBS, b"%02d" % k)
        await loopback.until(lambda: queues[1].dropped == 20)
        assert [(await anext(queues[1])).data for _ in range(10)] == [
            b"%02d" % k for k in range(20, 30)
        ]


async def test_a_restarted_node_is_heard_again(loopback, accept_all):
    """Stock numbers its messages from whole seconds: a fast publisher that restarts repeats
    numbers that the others have seen."""
    async with open_network(loopback.config(0)) as listener:
        heard = await listener.gossip.join(Topic.BLOCKS, accept_all)
        for life in range(2):
            async with open_network(loopback.config(1, *listener.addresses)) as speaker:
                await speaker.gossip.join(Topic.BLOCKS, accept_all)
                await loopback.until(lambda node=speaker: node.gossip.neighbours(Topic.BLOCKS))
                for k in range(20):
                    await speaker.gossip.publish(Topic.BLOCKS, b"%d %d" % (life, k))
                with trio.fail_after(5):
                    for k in range(20):
                        assert (await anext(heard)).data == b"%d %d" % (life, k)
            await loopback.until(lambda: not listener.peers.connected())


async def test_hosts_of_different_chains_share_no_topic(loopback, accept_all):
    other_chain = loopback.config(1, chain_id=Hash(b"\x0c" * 32))
    async with open_network(loopback.config(0)) as one, open_network(other_chain) as other:
        other.peers.add(one.addresses[0])
        for node in (one, other):
            await node.gossip.join(Topic.BLOCKS, accept_all)
        await loopback.until(lambda: bool(one.peers.connected()))
        await trio.sleep(0.3)
        assert not one.gossip.neighbours(Topic.BLOCKS)
        assert not other.gossip.neighbours(Topic.BLOCKS)


@pytest.mark.parametrize("survivor", [0, 1])
async def test_losing_one_of_two_connections_loses_no_gossip(loopback, accept_all, survivor):
    async with open_network(loopback.config(0)) as one, open_network(loopback.config(1)) as two:
        queues = [await node.gossip.join(Topic.BLOCKS, accept_all) for node in (one, two)]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.host.dial, parse_address(two.addresses[0]))
            nursery.start_soon(two.host.dial, parse_address(one.addresses[0]))
        await loopback.until(lambda: len(one.host.connections()) == 2)
        await loopback.until(lambda: one.gossip.neighbours(Topic.BLOCKS) == {two.peer})
        await loopback.until(lambda: two.gossip.neighbours(Topic.BLOCKS) == {one.peer})
        await one.host._swarm.get_connections()[1 - survivor].muxed_conn.abort()
        await loopback.until(lambda: len(two.host.connections()) == 1)
        for sender, queue in ((one, queues[1]), (two, queues[0])):
            with trio.fail_after(5):
                while not queue._waiting:
                    await sender.gossip.publish(Topic.BLOCKS, b"still heard?")
                    await trio.sleep(0.1)
