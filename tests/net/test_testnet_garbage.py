"""Garbage on every port and stream of a running testnet's processes: whoever sends it is told or
cut off, the reason is in the log, and blocks keep coming."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from p2p_aios.codec import schema
from p2p_aios.codec.frames import encode_frame
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import AiosError, Unavailable
from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.gossip import Topic
from p2p_aios.network.host import Host, open_host
from p2p_aios.network.identity import address_of, format_peer, parse_address, peer_id_of
from p2p_aios.network.node import Network, open_network
from p2p_aios.types.request import GetBlocks, encode_request
from p2p_aios.types.transaction import TransactionBatch
from p2p_aios.units import Height
from testnet import faults
from testnet.creation import Wish
from testnet.inspection import wait_height
from testnet.layout import NodePlan
from testnet.roster import chain_id_of
from tests.net.standing_testnet import Standing, Watch, standing_testnet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

MESHSUB = "/meshsub/1.1.0"
BAN_S_MAX = 15.0


@pytest.fixture(scope="module")
def testnet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    root = tmp_path_factory.mktemp("garbage") / "net"
    with standing_testnet(root, Wish(nodes=4, workers=0, has_ray=False)) as standing:
        yield standing


NOISE = [
    b"\x00" * 4_000,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"GET / HTTP/1.1\r\n\r\n",
    b"/multistream/1.0.0\n" * 500,
    b"\x13/multistream/1.0.0\n\x07/noise\n" + b"\xff" * 3_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
]


async def test_noise_on_every_port(testnet: Standing) -> None:
    async with Watch(testnet), trio.open_nursery() as nursery:
        for port in testnet.plan.ports().values():
            for noise in (*NOISE, os.urandom(20_000), b""):
                nursery.start_soon(shout, port, noise)


async def shout(port: int, noise: bytes) -> None:
    """Send it and hang on for a while; the other side may end it any time."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    with suppress(trio.BrokenResourceError), trio.move_on_after(2):
        if noise:
            await stream.send_all(noise)
        while await stream.receive_some(4096):
            pass
    await trio.aclose_forcefully(stream)


async def test_every_bad_question_is_answered_with_its_code(testnet: Standing) -> None:
    bad = {
        "": "json_malformed",
        "{": "json_malformed",
        "[" * 50_000: "json_malformed",
        '{"jsonrpc": NaN}': "json_malformed",
        "7": "request_malformed",
        '{"jsonrpc":"2.0","id":1,"method":"no.such"}': "unknown_method",
        '{"jsonrpc":"2.0","id":1,"method":"tx.get","params":["zz"]}': "params_invalid",
        '{"jsonrpc":"2.0","id":1,"method":"account.get","params":["aios1q"]}': "address_malformed",
        '{"jsonrpc":"2.0","id":1,"method":"block.get","params":[4000000000]}': "unknown_block",
        '{"jsonrpc":"2.0","id":1,"method":"blob.get","params":["bafy"]}': "cid_malformed",
    }
    headers = {"content-type": "application/json"}
    async with Watch(testnet), httpx.AsyncClient() as http:
        for node in testnet.plan.nodes:
            for content, code in bad.items():
                answer = (await http.post(node.url, content=content, headers=headers)).json()
                assert answer["error"]["data"]["code"] == code, content[:60]
            refused = await http.post(
                node.url, content="{}", headers={"content-type": "text/plain"}
            )
            assert refused.json()["error"]["data"]["code"] == "content_type_wrong"


async def test_garbage_in_a_websocket_is_told_and_leaves_the_others_their_blocks(
    testnet: Standing,
) -> None:
    node = testnet.plan.nodes[1]
    async with Watch(testnet), testnet.client(1) as client, client.subscribe_blocks() as blocks:
        async with open_socket(node) as socket:
            for message, code in [
                ("{", "json_malformed"),
                (b"\xff\xfe", "json_malformed"),
                ("[]", "request_malformed"),
                ('{"jsonrpc":"2.0","id":1,"method":"subscribe"}', "params_invalid"),
                (subscribe('{"topic":"nothing"}'), "unknown_topic"),
                (subscribe('{"topic":"events","kinds":["Nothing"]}'), "unknown_event_kind"),
            ]:
                await socket.send_message(message)
                assert f'"code":"{code}"' in await socket.get_message(), message
        async with open_socket(node) as socket:
            with suppress(ConnectionClosed):
                await socket.send_message("x" * (2 << 20))
                await socket.get_message()
            assert socket.closed is not None
        async with open_socket(node) as socket:
            await send_raw(socket, os.urandom(4_000))
            with pytest.raises(ConnectionClosed):
                await socket.get_message()
        first = await anext(blocks)
        assert (await anext(blocks)).header.height == first.header.height + 1


async def send_raw(socket: WebSocketConnection, data: bytes) -> None:
    """Past the protocol, but not into the middle of what the library itself is sending."""
    while True:
        try:
            await socket._stream.send_all(data)
            return
        except trio.BusyResourceError:
            await trio.sleep(0.01)


@asynccontextmanager
async def open_socket(node: NodePlan) -> AsyncIterator[WebSocketConnection]:
    with trio.fail_after(10):
        async with open_websocket_url(f"ws://127.0.0.1:{node.rpc_port}/ws") as socket:
            yield socket


def subscribe(params: str) -> str:
    return '{"jsonrpc":"2.0","id":1,"method":"subscribe","params":' + params + "}"


class Attack:
    """A libp2p peer of the test's own beside every node of the testnet."""

    def __init__(self, standing: Standing, name: str) -> None:
        self.standing = standing
        self.key = KeyPair.from_secret(name.encode().rjust(32, b"\x01"))
        self.config = NetworkConfig(self.key.secret, chain_id_of(standing.layout))

    def peer_of(self, node: NodePlan) -> bytes:
        key = load_keystore(self.standing.layout.node(node.name) / "peer.pem", None)
        return peer_id_of(key.secret)

    def address_of(self, node: NodePlan) -> str:
        return address_of(f"/ip4/127.0.0.1/tcp/{node.p2p_port}", self.peer_of(node))

    async def until_banned(self, host: Host, node: NodePlan, why: str) -> None:
        """Cut off, with the reason in the node's log."""
        with trio.fail_after(BAN_S_MAX):
            while host.is_connected(self.peer_of(node)) or not self._is_logged(host, node, why):
                await trio.sleep(0.05)
        with suppress(Unavailable):
            await host.dial(parse_address(self.address_of(node)))
        with pytest.raises(Unavailable):
            await host.open_stream(self.peer_of(node), self.config.protocol("request"))

    def _is_logged(self, host: Host, node: NodePlan, why: str) -> bool:
        return f"peer={format_peer(host.peer)} banned why={why}" in self.log(node)

    def log(self, node: NodePlan) -> str:
        path: Path = self.standing.layout.log(node.name)
        return path.read_text(errors="replace")


BAD_FRAMES = [
    (MESHSUB, b"\x20" + b"\xff" * 32, "rpc_malformed"),
    (MESHSUB, b"\xff\xff\xff\x7f" + b"a" * 100, "frame_too_large"),
    (MESHSUB, b"\xff" * 10, "frame_malformed"),
    ("request", b"\xff\xff\xff\xff" + b"a" * 100, "frame_too_large"),
]


async def test_a_stranger_with_garbage_frames_is_cut_off(testnet: Standing) -> None:
    async with Watch(testnet):
        for number, (protocol, sent, why) in enumerate(BAD_FRAMES):
            attack = Attack(testnet, f"stranger {number}")
            name = protocol if protocol == MESHSUB else attack.config.protocol(protocol)
            async with open_host(attack.config) as host:
                for node in testnet.plan.nodes:
                    await host.dial(parse_address(attack.address_of(node)))
                    stream = await host.open_stream(attack.peer_of(node), name)
                    await stream.write(sent)
                for node in testnet.plan.nodes:
                    await attack.until_banned(host, node, why)


async def test_a_stranger_reaches_no_committee_stream_and_gets_codes_for_bad_questions(
    testnet: Standing,
) -> None:
    attack = Attack(testnet, "curious")
    addresses = tuple(map(attack.address_of, testnet.plan.nodes))
    config = NetworkConfig(attack.key.secret, attack.config.chain_id, peers=addresses)
    async with Watch(testnet), open_network(config) as network:
        for node in testnet.plan.nodes:
            peer = attack.peer_of(node)
            with trio.fail_after(10):
                await network.host.wait_connected(peer)
            assert await ask(network, peer, b"\xff" * 50) == "cbor_malformed"
            assert await ask(network, peer, b"\x00" * 900_000) != "answered"
            assert await ask(network, peer, encode_request(GetBlocks(Height(1), 4))) == "answered"
            for name in ("urgent", "bulk"):
                assert await is_shut_out(network.host, peer, f"committee-{name}")


async def ask(network: Network, peer: bytes, question: bytes) -> str:
    """The code of the refusal; `answered` where there was none."""
    try:
        await network.requests.request(peer, question, deadline_s=5, bytes_max=1 << 20)
    except AiosError as error:
        return error.code
    return "answered"


async def is_shut_out(host: Host, peer: bytes, name: str) -> bool:
    """Whether the stream ends without a word of welcome."""
    try:
        stream = await host.open_stream(peer, host.config.protocol(name))
        with trio.fail_after(5):
            return await stream.read() == b""
    except Unavailable:
        return True


async def test_whoever_gossips_what_can_never_be_valid_is_cut_off(testnet: Standing) -> None:
    attack = Attack(testnet, "gossiper")
    addresses = tuple(map(attack.address_of, testnet.plan.nodes))
    config = NetworkConfig(attack.key.secret, attack.config.chain_id, peers=addresses)
    not_one = schema.encode_as(TransactionBatch, (b"\x82\x00\x00",))
    async with Watch(testnet), open_network(config) as network:
        peers = [attack.peer_of(node) for node in testnet.plan.nodes]
        with trio.fail_after(10):
            for peer in peers:
                await network.host.wait_connected(peer)
        with trio.move_on_after(BAN_S_MAX):
            while any(map(network.host.is_connected, peers)):
                for data in (os.urandom(1_000), not_one):
                    await network.gossip.publish(Topic.TRANSACTIONS, data)
                await trio.sleep(0.2)
        for node in testnet.plan.nodes:
            await attack.until_banned(network.host, node, "gossip_rejected")


async def test_a_member_gone_mad_is_left_out_and_the_rest_go_on(testnet: Standing) -> None:
    """The fourth node's own peer key, in other hands: it is let in, then cut off."""
    *honest, member = testnet.plan.nodes
    attack = Attack(testnet, "unused")
    key = load_keystore(testnet.layout.node(member.name) / "peer.pem", None)
    addresses = tuple(map(attack.address_of, honest))
    config = NetworkConfig(key.secret, attack.config.chain_id, peers=addresses)
    faults.send_signal(testnet.layout, member.name, signal.SIGSTOP)
    try:
        async with open_network(config) as network:
            peers = [attack.peer_of(node) for node in honest]
            network.committee.set_committee([*peers, network.peer])
            with trio.fail_after(40):
                while len(network.committee.joined()) < len(peers):
                    await trio.sleep(0.05)
            height = await testnet.height()
            for _ in range(20):
                network.committee.broadcast(os.urandom(100), urgent=True)
                network.committee.broadcast(encode_frame(os.urandom(9_000)), urgent=False)
            for node in honest:
                await attack.until_banned(network.host, node, "")
        async with testnet.client() as client:
            await wait_height(client, height + 6, limit_s=30)
    finally:
        faults.send_signal(testnet.layout, member.name, signal.SIGCONT)
