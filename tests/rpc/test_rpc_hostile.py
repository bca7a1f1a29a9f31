"""Whatever arrives on the port, the sender gets a code and everybody else their answers."""

import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import open_websocket_url

from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.rpc import app, connection
from p2p_aios.rpc.config import RpcConfig, RpcLimits
from p2p_aios.rpc.dispatch import MESSAGE_S_MAX, Dispatcher
from p2p_aios.rpc.feed import Feed
from p2p_aios.rpc.methods import METHODS
from p2p_aios.rpc.registry import Service
from p2p_aios.rpc.server import serve_rpc
from p2p_aios.types.views import TransactionStatus
from p2p_aios.units import Hash, Height
from tests.rpc.memory_backend import MemoryBackend
from tests.rpc.serving import Served, forever, serving

TOKEN = "a token of sixteen or more"
GOOD = '{"jsonrpc":"2.0","id":1,"method":"supply.get"}'


async def code_of(served: Served, content: bytes | str) -> tuple[int, str]:
    answer = (await served.post(content)).json()
    assert answer["id"] is None
    return answer["error"]["code"], answer["error"]["data"]["code"]


async def assert_alive(served: Served) -> None:
    assert (await served.call("node.status"))["result"]["network"] == "memory"


async def test_malformed_json_has_the_standard_number() -> None:
    async with serving() as served:
        for content in [
            b"",
            b"{",
            b"\xff\xfe",
            b'{"jsonrpc": NaN}',
            b"[" * 100_000,
            b'{"id": ' + b"9" * 10_000 + b"}",
        ]:
            assert await code_of(served, content) == (-32700, "json_malformed"), content[:20]
        await assert_alive(served)


async def test_malformed_requests() -> None:
    async with serving() as served:
        for request in [
            "[]",
            "7",
            "null",
            '"text"',
            "{}",
            '{"jsonrpc":"1.0","id":1,"method":"supply.get"}',
            '{"jsonrpc":"2.0","id":1,"method":7}',
            '{"jsonrpc":"2.0","id":{},"method":"supply.get"}',
            '{"jsonrpc":"2.0","id":true,"method":"supply.get"}',
        ]:
            assert await code_of(served, request) == (-32600, "request_malformed"), request


async def test_wrong_parameters() -> None:
    async with serving() as served:
        for method, params in [
            ("tx.get", None),
            ("tx.get", []),
            ("tx.get", ["zz"]),
            ("tx.get", ["AB" * 32]),
            ("tx.get", ["ab" * 31]),
            ("tx.get", ["ab" * 32, 2]),
            ("tx.get", {"id": "ab" * 32, "more": 1}),
            ("tx.get", {"id": 7}),
            ("tx.get", "text"),
            ("tx.submit", {"raw": "0g"}),
            ("tx.submit", {"raw": "00" * 70_000}),
            ("block.get", {"height": -1}),
            ("block.get", {"height": 1.5}),
            ("block.get", {"height": True}),
            ("block.get", {"height": 2**64}),
            ("blob.put", ["\ud800"]),
        ]:
            assert await served.refusal(method, params) == (-32602, "params_invalid"), params
        assert await served.refusal("no.such") == (-32601, "unknown_method")
        assert await served.refusal("account.get", ["aios1qqqq"]) == (-32000, "address_malformed")
        assert await served.refusal("blob.get", ["bafy"]) == (-32000, "cid_malformed")
        await assert_alive(served)


async def test_batches_answer_each_call_in_order_and_skip_notifications() -> None:
    async with serving() as served:
        batch = [
            json.loads(GOOD),
            {"jsonrpc": "2.0", "method": "supply.get"},
            {"jsonrpc": "2.0", "id": "b", "method": "no.such"},
            1,
            {"jsonrpc": "2.0", "id": None, "method": "node.status"},
        ]
        answers = (await served.post(json.dumps(batch))).json()
        assert [each["id"] for each in answers] == [1, "b", None, None]
        numbers = [each.get("error", {}).get("code") for each in answers]
        assert numbers == [None, -32601, -32600, None]
        only_notifications = await served.post('[{"jsonrpc":"2.0","method":"supply.get"}]')
        assert (only_notifications.status_code, only_notifications.content) == (204, b"")


async def test_batch_too_large() -> None:
    async with serving(RpcConfig(port=0, limits=RpcLimits(batch_max=3))) as served:
        assert len((await served.post(f"[{GOOD},{GOOD},{GOOD}]")).json()) == 3
        refused = await code_of(served, f"[{GOOD},{GOOD},{GOOD},{GOOD}]")
        assert refused == (-32000, "batch_too_large")


async def test_body_too_large_announced_or_not() -> None:
    async with serving(
        RpcConfig(port=0, limits=RpcLimits(body_bytes_max=2048, blob_bytes_max=4096))
    ) as served:

        async def stream() -> AsyncIterator[bytes]:
            for _ in range(64):
                yield b" " * 1024

        headers = {"content-type": "application/json"}
        for content in (b" " * 65_536, stream()):
            answer = await served.http.post("/", content=content, headers=headers)
            assert answer.status_code == 413
            assert answer.json()["error"]["data"]["code"] == "body_too_large"
        assert (await served.http.put("/blob", content=b"x" * 4096)).status_code == 200
        assert (await served.http.put("/blob", content=b"x" * 4097)).status_code == 413
        await assert_alive(served)


async def test_client_that_never_ends_its_oversized_body_leaves_nothing_behind() -> None:
    async with serving(RpcConfig(port=0, limits=RpcLimits(body_bytes_max=2048))) as served:
        before = len(trio.lowlevel.current_root_task().child_nurseries)
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        await stream.send_all(
            f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            "content-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        )
        with pytest.raises(trio.BrokenResourceError):
            await forever(lambda: stream.send_all(b"ffff\r\n" + b" " * 0xFFFF + b"\r\n"))
        await stream.aclose()
        await assert_alive(served)
        assert len(trio.lowlevel.current_root_task().child_nurseries) == before


async def test_slow_body_is_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "BODY_S_MAX", 0.2)
    async with serving() as served:
        answer = await raw_exchange(
            served,
            f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n"
            "content-type: application/json\r\ncontent-length: 100\r\n\r\n{".encode(),
        )
        assert answer.startswith(b"HTTP/1.1 408")
        assert b"body_too_slow" in answer


async def test_slow_headers_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_S_MAX", 0.2)
    async with serving() as served:
        assert await raw_exchange(served, b"POST / HT") == b""
        assert await raw_exchange(served, b"") == b""


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00" * 1000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
        b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -5\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /%ff%fe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"\r\n" * 5000,
    ],
)
async def test_garbage_on_the_port(garbage: bytes) -> None:
    async with serving() as served:
        stream = await trio.open_tcp_stream("127.0.0.1", served.port)
        await stream.send_all(garbage)
        with trio.move_on_after(0.3):
            await stream.receive_some(4096)
        await stream.aclose()
        await assert_alive(served)


async def test_too_many_requests_in_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "REQUESTS_MAX", 1)
    is_in_work = trio.Event()

    class Watched(MemoryBackend):
        async def transaction(self, id: Hash) -> TransactionStatus | None:
            is_in_work.set()
            return await super().transaction(id)

    async with serving(backend=Watched()) as served, trio.open_nursery() as nursery:
        waiting = {"id": "00" * 32, "timeout_ms": 20_000}
        nursery.start_soon(served.call, "tx.wait", waiting)
        await is_in_work.wait()
        answer = await served.post(GOOD)
        assert answer.status_code == 503
        assert answer.json()["error"]["data"] == {"code": "overloaded", "kind": "unavailable"}
        nursery.cancel_scope.cancel()


async def test_bearer_token_guards_what_changes_state() -> None:
    async with serving(RpcConfig(port=0, token=TOKEN)) as served:
        await assert_alive(served)
        put = '{"jsonrpc":"2.0","id":1,"method":"blob.put","params":["AA=="]}'
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}):
            answer = (await served.post(put, **headers)).json()
            assert answer["error"]["data"]["code"] == "unauthorized"
            assert (await served.http.put("/blob", headers=headers)).status_code == 401
        assert served.backend.blobs == {}
        allowed = {"authorization": f"Bearer {TOKEN}"}
        assert "result" in (await served.post(put, **allowed)).json()
        stored = await served.http.put("/blob", content=b"x", headers=allowed)
        assert stored.status_code == 200


async def test_other_sites_pages_reach_nothing() -> None:
    async with serving() as served:
        assert (await served.post(GOOD, **{"content-type": "text/plain"})).status_code == 415
        assert (await served.post(GOOD, origin="http://evil.example")).status_code == 403
        assert (await served.post(GOOD, host="evil.example")).status_code == 403
        own = f"http://127.0.0.1:{served.port}"
        assert (await served.post(GOOD, origin=own)).status_code == 200
        assert (await served.post(GOOD, host=f"localhost:{served.port}")).status_code == 200


async def test_open_address_needs_a_token() -> None:
    with pytest.raises(Invalid, match="set a token") as caught:
        await serve_rpc(MemoryBackend(), Feed(), RpcConfig(host="0.0.0.0", port=0))
    assert caught.value.code == "token_required"


async def test_taken_port_says_so() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unavailable, match="another node") as caught:
            await serve_rpc(MemoryBackend(), Feed(), RpcConfig(port=taken.getsockname()[1]))
    assert caught.value.code == "port_unavailable"


async def test_fault_in_a_handler_is_an_internal_error(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(MemoryBackend):
        async def supply(self, _: Height | None = None) -> Any:
            raise ZeroDivisionError("secret detail")

    async with serving(backend=Broken()) as served:
        answer = await served.call("supply.get")
        assert answer["error"]["code"] == -32603
        assert "secret" not in json.dumps(answer)
        assert "secret detail" in caplog.text
        await assert_alive(served)


class Rotten(MemoryBackend):
    async def supply(self, _: Height | None = None) -> Any:
        raise Corrupt("trie_corrupt", "a node is gone")


async def ask_over_http(served: Served) -> None:
    answer = await served.post(GOOD)
    assert answer.status_code == 500
    await trio.sleep(10)


async def ask_over_websocket(served: Served) -> None:
    async with open_websocket_url(f"ws://127.0.0.1:{served.port}/ws") as socket:
        await socket.send_message(GOOD)
        await trio.sleep(10)


@pytest.mark.parametrize("ask", [ask_over_http, ask_over_websocket])
async def test_corrupt_disk_stops_the_server(ask: Callable[[Served], Awaitable[None]]) -> None:
    async def run() -> None:
        async with serving(backend=Rotten()) as served:
            await ask(served)

    with pytest.raises(ExceptionGroup) as caught:
        await run()
    assert caught.value.subgroup(Corrupt)


def test_deadline_of_a_message() -> None:
    class Stuck(MemoryBackend):
        async def supply(self, _: Height | None = None) -> Any:
            await trio.sleep_forever()

    async def ask() -> tuple[bytes | None, float]:
        backend = Stuck()
        dispatcher = Dispatcher(Service(backend, backend.feed), METHODS, True)
        started = trio.current_time()
        return await dispatcher.answer(f"[{GOOD},{GOOD}]"), trio.current_time() - started

    answer, took_s = trio.run(ask, clock=trio.testing.MockClock(autojump_threshold=0))
    codes = [each["error"]["data"]["code"] for each in json.loads(answer or b"")]
    assert codes == ["deadline_exceeded"] * 2
    assert took_s == pytest.approx(MESSAGE_S_MAX)


async def test_answers_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("p2p_aios.rpc.dispatch.ANSWER_BYTES_MAX", 600)
    async with serving() as served:
        answers = (await served.post(f"[{GOOD},{GOOD},{GOOD}]")).json()
        assert "result" in answers[0]
        assert answers[-1]["error"]["data"]["code"] == "answer_too_large"


async def raw_exchange(served: Served, request: bytes) -> bytes:
    """All that comes back until the server closes."""
    answer = b""
    async with await trio.open_tcp_stream("127.0.0.1", served.port) as stream:
        with trio.fail_after(10), suppress(trio.BrokenResourceError):
            await stream.send_all(request)
            async for piece in stream:
                answer += piece
    return answer
