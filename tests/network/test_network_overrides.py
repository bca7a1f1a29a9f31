"""The names inside libp2p that this package replaces still exist, and the replacements hold."""

import inspect
from importlib.metadata import version

import libp2p.pubsub.gossipsub as gossipsub_module
import libp2p.pubsub.pubsub as pubsub_module
import libp2p.stream_muxer.yamux.yamux as yamux_module
from libp2p.host.basic_host import BasicHost
from libp2p.network.swarm import Swarm
from libp2p.peer.id import ID
from libp2p.pubsub.pb import rpc_pb2

from p2p_aios.network import connection, pubsub, swarm
from p2p_aios.network.overrides import (
    MUX_FRAME_BYTES_MAX,
    OUTBOX_BYTES_MAX,
    OUTBOX_RPCS_MAX,
    RECEIVE_WINDOW_BYTES_MAX,
    OutboundQueue,
    install_overrides,
)


def test_the_version_the_overrides_were_written_for():
    assert version("libp2p") == "0.8.1"


def test_every_overridden_method_exists_in_stock_with_the_same_parameters():
    """A renamed method would leave its override dead without a word."""
    ours = {
        connection.Connection: (
            yamux_module.Yamux,
            ("_write_frame", "_read_data_body", "_measure_rtt_loop", "handle_incoming"),
        ),
        swarm.GuardedSwarm: (
            Swarm,
            (
                "add_conn",
                "dial_peer",
                "_schedule_prune",
                "notify_disconnected",
                "upgrade_inbound_raw_conn",
            ),
        ),
        pubsub.GuardedPubsub: (
            pubsub_module.Pubsub,
            (
                "stream_handler",
                "push_msg",
                "_forget_all_subscriptions",
                "_handle_new_peer",
                "handle_dead_peer_queue",
            ),
        ),
        pubsub.GuardedRouter: (
            gossipsub_module.GossipSub,
            (
                "handle_rpc",
                "publish",
                "heartbeat",
                "on_peer_subscribed",
                "flush_pending_messages",
                "_check_equivocation",
            ),
        ),
        connection.Upgrader: (connection.TransportUpgrader, ("upgrade_connection",)),
    }
    for subclass, (stock, names) in ours.items():
        for name in names:
            assert name in vars(subclass), (subclass, name)
            theirs = inspect.signature(getattr(stock, name)).parameters
            assert len(inspect.signature(getattr(subclass, name)).parameters) == len(theirs)
    assert hasattr(BasicHost, "_swarm_stream_handler")
    assert "self.common_stream_handler = " in inspect.getsource(Swarm.set_stream_handler)


def test_overrides_are_in_place_after_installing_twice():
    install_overrides()
    install_overrides()
    assert yamux_module.MAX_WINDOW_SIZE == RECEIVE_WINDOW_BYTES_MAX
    assert yamux_module.MAX_MESSAGE_SIZE == MUX_FRAME_BYTES_MAX
    assert pubsub_module.RpcQueue is OutboundQueue
    assert pubsub_module.env_to_send_in_RPC is gossipsub_module.env_to_send_in_RPC
    assert "overrides" in pubsub_module.env_to_send_in_RPC.__module__


def test_peer_ids_hash_and_compare_as_before():
    install_overrides()
    one, same, other = ID(b"\x00\x01a"), ID(b"\x00\x01a"), ID(b"\x00\x01b")
    assert one == same
    assert hash(one) == hash(same) == hash(b"\x00\x01a")
    assert one != other
    assert one == b"\x00\x01a"
    assert one == one.to_base58()
    assert {one: 1}[same] == 1


async def test_the_outbound_queue_is_bounded_in_number_and_bytes():
    small = rpc_pb2.RPC(publish=[rpc_pb2.Message(data=b"x")])
    queue = OutboundQueue()
    assert all(queue.push(small) for _ in range(OUTBOX_RPCS_MAX))
    assert not queue.push(small)
    large = rpc_pb2.RPC(publish=[rpc_pb2.Message(data=bytes(900_000))])
    queue = OutboundQueue()
    pushed = 0
    while queue.push(large):
        pushed += 1
    assert pushed == OUTBOX_BYTES_MAX // large.ByteSize()
    await queue.pop()
    assert queue.push(large)
