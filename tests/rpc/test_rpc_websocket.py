"""Subscriptions: what arrives, in which order, and what becomes of those who do not read."""

import json
import struct
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, open_websocket_url

from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.crypto.keys import format_address
from p2p_aios.rpc import connection
from p2p_aios.rpc.config import RpcConfig, RpcLimits
from p2p_aios.rpc.feed import Feed
from p2p_aios.rpc.websocket import SUBSCRIPTIONS_MAX
from p2p_aios.types.event import RoundVoided, UpdateRefused
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.views import Phase, ReceiptNotice, RoundView
from p2p_aios.units import Amount, Hash, Height
from tests.rpc.memory_backend import ALICE, BOB, VALIDATOR, MemoryBackend
from tests.rpc.serving import Served, forever, serving
from tests.rpc.test_rpc_methods import transfer


def ws(served: Served, **options: Any) -> Any:
    return open_websocket_url(f"ws://127.0.0.1:{served.port}/ws", **options)


async def ask(socket: Any, method: str, params: Any = None, id: int = 1) -> Any:
    request = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
    await socket.send_message(json.dumps(request))
    return json.loads(await socket.get_message())


async def first_notice(socket: Any) -> Any:
    """Of the block just published; None where there is none before the answer to a call."""
    message = await ask(socket, "node.status", id=99)
    return None if message.get("id") == 99 else message["params"]["result"]


async def test_blocks_arrive_in_order_after_the_answer() -> None:
    async with serving() as served, ws(served) as socket:
        assert (await ask(socket, "subscribe", {"topic": "blocks"}))["result"] == 1
        for _ in range(3):
            served.backend.finalize()
        notes = [json.loads(await socket.get_message()) for _ in range(3)]
        assert [note["params"]["subscription"] for note in notes] == [1, 1, 1]
        heights = [note["params"]["result"]["header"]["height"] for note in notes]
        assert heights == [1, 2, 3]


async def test_other_methods_and_batches_work_here_too() -> None:
    async with serving() as served, ws(served) as socket:
        assert (await ask(socket, "node.status"))["result"]["network"] == "memory"
        assert (await ask(socket, "no.such"))["error"]["code"] == -32601
        await socket.send_message(b'[{"jsonrpc":"2.0","id":9,"method":"supply.get"}]')
        assert json.loads(await socket.get_message())[0]["id"] == 9
        await socket.send_message("not json")
        assert json.loads(await socket.get_message())["error"]["code"] == -32700


@pytest.mark.parametrize(
    ("narrowed", "arrives"),
    [
        ({}, True),
        ({"kinds": ["Transferred", "TaskOpened"]}, True),
        ({"kinds": ["TaskOpened"]}, False),
        ({"subject": format_address(BOB.address)}, True),
        ({"subject": "00" * 32}, False),
    ],
)
async def test_events_are_narrowed(narrowed: dict[str, Any], arrives: bool) -> None:
    async with serving() as served, ws(served) as socket:
        await ask(socket, "subscribe", {"topic": "events", **narrowed})
        transaction = transfer(served.backend)
        await served.backend.submit(transaction.raw)
        served.backend.finalize()
        note = await first_notice(socket)
        assert (note is not None) is arrives
        if note is not None:
            assert note["transaction"] == transaction.id.hex()
            assert note["event"]["sender"] == format_address(ALICE.address)


@pytest.mark.parametrize(
    ("subject", "arrives"),
    [
        (None, True),
        ("transaction", True),
        (format_address(ALICE.address), True),
        (format_address(BOB.address), True),
        (format_address(VALIDATOR.address), False),
        ("00" * 32, False),
    ],
)
async def test_receipts_are_of_a_transaction_or_an_account(
    subject: str | None, arrives: bool
) -> None:
    async with serving() as served, ws(served) as socket:
        transaction = transfer(served.backend)
        wanted = transaction.id.hex() if subject == "transaction" else subject
        await ask(socket, "subscribe", {"topic": "receipts", "subject": wanted})
        await served.backend.submit(transaction.raw)
        served.backend.finalize()
        note = await first_notice(socket)
        assert (note is not None) is arrives
        if note is not None:
            found = schema.from_json(ReceiptNotice, note)
            assert (found.sender, found.index, found.height) == (ALICE.address, 0, 1)
            assert found.receipt == served.backend.outcomes[0].receipts[0]


async def test_rounds_arrive_as_they_stand_once_a_block() -> None:
    backend = MemoryBackend()
    task, other = Hash(b"\x07" * 32), Hash(b"\x08" * 32)
    for id in (task, other):
        backend.round_views[id, 2] = RoundView(
            id, 2, Phase.OPEN, cid_of(b"base"), (), None, (), None, None,
            *(Amount(0), None, Height(1), None),
        )  # fmt: skip
    async with serving(backend=backend) as served, ws(served) as all, ws(served) as one:
        await ask(all, "subscribe", {"topic": "rounds"})
        await ask(one, "subscribe", {"topic": "rounds", "subject": task.hex()})
        moved = (
            RoundVoided(other, 2, "no_quorum"),
            UpdateRefused(task, 2, BOB.address, "update_malformed"),
            RoundVoided(task, 2, "too_few_updates"),
            RoundVoided(task, 9, "too_few_updates"),  # which the node does not know
        )
        backend.feed.publish(backend.finalize(), BlockOutcome((), moved))
        with trio.fail_after(20):
            seen = [json.loads(await all.get_message())["params"]["result"] for _ in range(2)]
            mine = json.loads(await one.get_message())["params"]["result"]
        assert [each["task"] for each in seen] == [other.hex(), task.hex()]
        assert schema.from_json(RoundView, mine) == backend.round_views[task, 2]


async def test_over_http_a_subscription_says_where_it_belongs() -> None:
    async with serving() as served:
        for method, params in [("subscribe", ["blocks"]), ("unsubscribe", [1])]:
            assert (await served.refusal(method, params))[1] == "socket_required"


async def test_unsubscribe_ends_it() -> None:
    async with serving() as served, ws(served) as socket:
        id = (await ask(socket, "subscribe", ["blocks"]))["result"]
        assert (await ask(socket, "unsubscribe", [id]))["result"] is True
        assert (await ask(socket, "unsubscribe", [id]))["result"] is False
        served.backend.finalize()
        assert (await ask(socket, "node.status", id=5))["id"] == 5


async def test_refused_subscriptions() -> None:
    async with serving() as served, ws(served) as socket:
        for params, code in [
            ({"topic": "weather"}, "unknown_topic"),
            ({"topic": "events", "kinds": ["Nope"]}, "unknown_event_kind"),
            ({"topic": "events", "subject": "xyz"}, "subject_malformed"),
            ({"topic": "events", "subject": "aios1xyz"}, "address_malformed"),
            ({"topic": "receipts", "kinds": ["Transferred"]}, "params_invalid"),
            ({"topic": "blocks", "subject": "00" * 32}, "params_invalid"),
            ({}, "params_invalid"),
        ]:
            answer = await ask(socket, "subscribe", params)
            assert answer["error"]["data"]["code"] == code
        for _ in range(SUBSCRIPTIONS_MAX):
            await ask(socket, "subscribe", ["blocks"])
        answer = await ask(socket, "subscribe", ["blocks"])
        assert answer["error"]["data"]["code"] == "too_many_subscriptions"
        assert served.backend.feed.count == SUBSCRIPTIONS_MAX
    assert served.backend.feed.count == 0


async def test_burst_beyond_the_queue_drops_the_follower_with_a_code() -> None:
    backend = MemoryBackend()
    backend.feed = Feed(queue_blocks_max=4)
    async with serving(backend=backend) as served, ws(served) as socket:
        await ask(socket, "subscribe", ["blocks"])
        for _ in range(10):
            backend.finalize()
        with pytest.raises(ConnectionClosed) as caught:
            await forever(socket.get_message)
        assert (caught.value.reason.code, caught.value.reason.reason) == (4008, "subscriber_slow")
        assert backend.feed.count == 0


async def test_client_that_stops_reading_is_dropped_and_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "WRITE_S_MAX", 0.5)
    backend = MemoryBackend()
    backend.feed = Feed(queue_blocks_max=50)
    async with serving(backend=backend) as served:
        stuck = await raw_websocket(served)
        await stuck.send_all(
            frame('{"jsonrpc":"2.0","id":1,"method":"subscribe","params":["blocks"]}')
        )
        async with ws(served, message_queue_size=100_000) as reader:
            await ask(reader, "subscribe", ["blocks"])
            with trio.fail_after(30):
                while backend.feed.count < 2:
                    await trio.sleep(0.01)
                while backend.feed.count == 2:
                    for _ in range(40):
                        backend.finalize()
                    for _ in range(40):
                        await reader.get_message()
            assert backend.feed.count == 1
            backend.finalize()
            assert "result" in (await reader.get_message())
        with pytest.raises(trio.BrokenResourceError):
            await forever(lambda: stuck.send_all(frame("x" * 1000)))
        await stuck.aclose()


async def test_oversized_messages_end_the_connection() -> None:
    async with serving(RpcConfig(port=0, limits=RpcLimits(body_bytes_max=4096))) as served:
        async with ws(served) as socket:
            await socket.send_message("x" * 5000)
            with pytest.raises(ConnectionClosed) as caught, trio.fail_after(20):
                await socket.get_message()
            assert caught.value.reason.code in (1009, 1006)
        # One that ignores the close and goes on sending must not be buffered.
        stubborn = await raw_websocket(served)
        with pytest.raises(trio.BrokenResourceError):
            await forever(lambda: stubborn.send_all(frame("x" * 2000, is_last=False)))
        await stubborn.aclose()


@pytest.mark.parametrize("garbage", [b"\xff" * 64, b"\x81\x05hello", b"\x88\x01\x00", b"\x00"])
async def test_garbage_frames_cost_only_their_connection(garbage: bytes) -> None:
    async with serving() as served:
        stream = await raw_websocket(served)
        await stream.send_all(garbage)
        with trio.move_on_after(0.3):
            await stream.receive_some(4096)
        await stream.send_all(frame("more"))
        await stream.aclose()
        assert "result" in await served.call("node.status")


async def test_compression_is_not_offered() -> None:
    async with serving() as served:
        stream, answer = await upgrade(served, "Sec-WebSocket-Extensions: permessage-deflate\r\n")
        assert b"101" in answer
        assert b"permessage" not in answer
        await stream.aclose()


async def test_foreign_origin_is_refused() -> None:
    async with serving() as served:
        with pytest.raises(ConnectionRejected) as caught:
            async with ws(served, extra_headers=[(b"origin", b"http://evil.example")]):
                pass
        assert caught.value.status_code == 403


async def test_token_is_asked_for_here_too() -> None:
    token = "sixteen characters"
    async with serving(RpcConfig(port=0, token=token)) as served:
        async with ws(served) as socket:
            answer = await ask(socket, "blob.put", ["AA=="])
            assert answer["error"]["data"]["code"] == "unauthorized"
        headers = [(b"authorization", f"Bearer {token}".encode())]
        async with ws(served, extra_headers=headers) as socket:
            assert "result" in await ask(socket, "blob.put", ["AA=="])


async def upgrade(served: Served, headers: str = "") -> tuple[trio.SocketStream, bytes]:
    stream = await trio.open_tcp_stream("127.0.0.1", served.port)
    await stream.send_all(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n".encode()
    )
    return stream, await stream.receive_some(4096)


async def raw_websocket(served: Served) -> trio.SocketStream:
    stream, _ = await upgrade(served)
    return stream


def frame(text: str, is_last: bool = True) -> bytes:
    """A client's text frame (RFC 6455 §5.2), masked with zeros."""
    size = len(text)
    length = bytes((0x80 | size,)) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes((0x81 if is_last else 0x01,)) + length + bytes(4) + text.encode()
