"""Peers that are killed, stopped, restarted; and leaving while the network is busy."""

import signal

import pytest
import trio

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.network.gossip import Topic
from p2p_aios.network.host import open_host
from p2p_aios.network.identity import parse_address
from p2p_aios.network.node import Network, open_network
from p2p_aios.network.streams import CommitteeEvent, Frame, PeerJoined, PeerLeft


async def expect(node: Network, event: CommitteeEvent, within_s: float) -> float:
    """Wait for an event, past others; how long it took, in seconds."""
    started_s = trio.current_time()
    with trio.fail_after(within_s):
        while await node.committee.events.receive() != event:
            pass
    return trio.current_time() - started_s


@pytest.mark.slow
async def test_a_killed_member_has_left_at_once_and_is_found_again(loopback):
    async with open_network(loopback.config(0)) as node:
        member = loopback.start_peer(1, "member", "0", node.addresses[0])
        node.peers.add(member.address)
        node.committee.set_committee([node.peer, member.peer])
        await expect(node, PeerJoined(member.peer), 5)
        node.committee.send(member.peer, b"first life", urgent=True)
        await expect(node, Frame(member.peer, b"first life", True), 5)

        member.send_signal(signal.SIGKILL)
        assert await expect(node, PeerLeft(member.peer), 5) < 1
        assert not node.committee.send(member.peer, b"too late", urgent=True)

        port = member.address.split("/")[4]
        await loopback.until(lambda: not node.host.is_connected(member.peer))
        # It does not dial us: we must find it.
        again = loopback.start_peer(1, "member", port)
        assert again.peer == member.peer
        assert await loopback.until(lambda: node.host.is_connected(again.peer)) < 5


@pytest.mark.slow
async def test_a_stopped_peer_is_noticed_and_comes_back(loopback):
    async with open_network(loopback.config(0)) as node:
        member = loopback.start_peer(1, "member", "0", node.addresses[0])
        node.peers.add(member.address)
        node.committee.set_committee([node.peer, member.peer])
        await expect(node, PeerJoined(member.peer), 5)
        await trio.sleep(2)
        assert [c.rtt_ms is not None and c.rtt_ms < 1000 for c in node.peers.connected()] == [True]

        member.send_signal(signal.SIGSTOP)
        # With more waiting to be written than any socket buffer holds.
        for _ in range(12):
            node.committee.send(member.peer, bytes(600_000), urgent=False)
        assert await expect(node, PeerLeft(member.peer), 10) < 5
        member.send_signal(signal.SIGCONT)
        await expect(node, PeerJoined(member.peer), 15)
        node.committee.send(member.peer, b"back", urgent=True)
        await expect(node, Frame(member.peer, b"back", True), 5)


async def test_peers_that_dial_each_other_at_once_settle(loopback):
    async with open_network(loopback.config(0)) as one, open_network(loopback.config(1)) as two:
        one.peers.add(two.addresses[0])
        two.peers.add(one.addresses[0])
        for node in (one, two):
            node.committee.set_committee([one.peer, two.peer])
        await expect(one, PeerJoined(two.peer), 5)
        await expect(two, PeerJoined(one.peer), 5)
        await trio.sleep(1)
        assert len(one.host.connections()) == len(two.host.connections()) == 1


async def test_a_peer_that_is_not_there_is_dialed_until_it_is(loopback):
    async with open_host(loopback.config(1)) as placeholder:
        address = placeholder.addresses[0]
    port = address.split("/")[4]
    async with open_network(loopback.config(0, address)) as node:
        await trio.sleep(1)
        assert not node.peers.connected()
        late = loopback.config(1, listen=(f"/ip4/127.0.0.1/tcp/{port}",))
        async with open_network(late) as peer:
            assert await loopback.until(lambda: node.host.is_connected(peer.peer)) < 5
            (connection,) = node.peers.connected()
            assert (connection.peer, connection.direction) == (peer.peer, "outbound")
            await node.peers.remove(peer.peer)
            await loopback.until(lambda: not peer.peers.connected())
            await trio.sleep(1)
            assert not node.peers.connected()


async def test_an_impostor_at_a_peers_address_is_not_taken_for_it(loopback):
    async with open_network(loopback.config(0)) as node, open_network(loopback.config(1)) as real:
        claimed = real.addresses[0].rsplit("/", 1)[0] + "/" + node.addresses[0].rsplit("/", 1)[1]
        async with open_host(loopback.config(3)) as dialer:
            with pytest.raises(Unavailable, match="dial_failed"):
                await dialer.dial(parse_address(claimed))


async def test_malformed_addresses_are_refused(loopback):
    for text in ("", "127.0.0.1:4001", "/ip4/127.0.0.1/tcp/4001", "/ip4/1.2.3.4/tcp/1/p2p/zzz"):
        with pytest.raises(Invalid, match="address_malformed"):
            async with open_network(loopback.config(0, text)):
                pass
    for listen in ("/ip4/203.0.113.1/tcp/1", "/ip4/127.0.0.1", "nowhere"):
        with pytest.raises(Unavailable, match="listen_failed"):
            async with open_network(loopback.config(0, listen=(listen,))):
                pass


async def test_two_nodes_never_share_a_port(loopback):
    """libp2p's SO_REUSEPORT would let them, each losing half of its connections to the other."""
    async with open_network(loopback.config(0)) as first:
        taken = first.addresses[0].rsplit("/p2p/", 1)[0]
        with pytest.raises(Unavailable, match="listen_failed"):
            async with open_network(loopback.config(1, listen=(taken,))):
                pass
    async with open_network(loopback.config(1, listen=(taken,))) as second:
        assert second.addresses[0].startswith(taken)


async def test_what_the_body_raises_comes_out_as_it_is(loopback):
    with pytest.raises(KeyError):
        async with open_network(loopback.config(0)):
            raise KeyError("the driver's own")


async def test_leaving_when_cancelled_closes_every_socket(loopback):
    with trio.CancelScope() as scope:
        async with loopback.open_committee(3) as nodes:
            port = int(nodes[0].addresses[0].split("/")[4])
            scope.cancel()
            await trio.sleep_forever()
    with pytest.raises(OSError, match=str(port)):
        await trio.open_tcp_stream("127.0.0.1", port)


@pytest.mark.slow
async def test_shutdown_under_load_is_quiet_and_quick(loopback, accept_all):
    """Four processes that flood each other are told to end one after the other."""
    flooders = []
    for index in range(4):
        flooders.append(
            loopback.start_peer(index, "flooder", "0", *(other.address for other in flooders))
        )
    async with open_network(loopback.config(9, *(f.address for f in flooders))) as node:
        heard = await node.gossip.join(Topic.BLOCKS, accept_all)
        with trio.fail_after(20):
            for _ in range(50):
                await anext(heard)
        for flooder in flooders:
            started_s = trio.current_time()
            flooder._popen.stdin.close()
            flooder._popen.stdin = None
            status, errors = await trio.to_thread.run_sync(flooder.wait)
            assert (status, errors) == (0, "")
            assert trio.current_time() - started_s < 5
