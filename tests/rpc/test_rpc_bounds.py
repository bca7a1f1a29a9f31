"""What one client can take from the others: connections, memory, time. None of it all."""

import json
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from p2p_aios.codec.cid import format_cid
from p2p_aios.errors import Unavailable
from p2p_aios.rpc import blobs, bodies, connection, server
from p2p_aios.rpc.bodies import Unsent
from p2p_aios.rpc.config import RpcConfig, RpcLimits
from p2p_aios.rpc.rates import Rates
from tests.rpc.memory_backend import MemoryBackend
from tests.rpc.serving import Served, forever, serving
from tests.rpc.test_rpc_websocket import ask, frame, raw_websocket, ws

CALL = {"jsonrpc": "2.0", "id": 1, "method": "supply.get"}


async def opened(served: Served) -> trio.SocketStream:
    return await trio.open_tcp_stream("127.0.0.1", served.port)


def post(served: Served, *ids: int) -> bytes:
    """Requests one behind the other, as a client that pipelines sends them."""
    bodies_ = [json.dumps({**CALL, "id": id}).encode() for id in ids]
    return b"".join(
        f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
        for body in bodies_
    )


async def read_until(stream: trio.SocketStream, is_enough: Callable[[bytes], bool]) -> bytes:
    received = b""
    with trio.fail_after(20):
        while not is_enough(received):
            piece = await stream.receive_some(1 << 16)
            if not piece:
                break
            received += piece
    return received


async def until(is_so: Callable[[], bool]) -> None:
    with trio.fail_after(20):
        while not is_so():
            await trio.sleep(0.01)


async def is_turned_away(served: Served) -> bool:
    """Whether a new connection gets no answer to a request."""
    async with await opened(served) as stream:
        try:
            await stream.send_all(post(served, 1))
            answer = await read_until(stream, lambda data: b"\r\n\r\n" in data)
        except trio.BrokenResourceError:  # closed before it read what we sent
            return True
        return answer.startswith(b"HTTP/1.1 503")


async def test_one_address_gets_its_share_of_the_connections() -> None:
    limits = RpcLimits(connections_max=10, client_connections_max=2, limits_loopback=True)
    async with serving(RpcConfig(port=0, limits=limits)) as served, AsyncExitStack() as stack:
        held = [await stack.enter_async_context(await opened(served)) for _ in range(2)]
        for stream in held:  # which are surely accepted once they are answered
            await stream.send_all(post(served, 1))
            assert b"HTTP/1.1 200" in await read_until(stream, lambda data: b"result" in data)
        assert await is_turned_away(served)
        await held[0].aclose()
        with trio.fail_after(20):
            while await is_turned_away(served):
                await trio.sleep(0.01)


async def test_programs_of_this_machine_share_all_connections() -> None:
    limits = RpcLimits(connections_max=4, client_connections_max=1)
    async with serving(RpcConfig(port=0, limits=limits)) as served, AsyncExitStack() as stack:
        for _ in range(4):
            stream = await stack.enter_async_context(await opened(served))
            await stream.send_all(post(served, 1))
            assert b"HTTP/1.1 200" in await read_until(stream, lambda data: b"result" in data)
        assert await is_turned_away(served)
        await stack.aclose()
        with trio.fail_after(20):
            while await is_turned_away(served):
                await trio.sleep(0.01)


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with serving() as served, await opened(served) as stream:
        await stream.send_all(post(served, *range(40)))
        answers = await read_until(stream, lambda data: data.count(b'"id":') == 40)
        places = [answers.index(f'"id":{id}}}'.encode()) for id in range(40)]
        assert places == sorted(places)


async def test_who_pipelines_and_never_reads_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WRITE_S_MAX", 0.5)
    async with serving() as served:
        stream = await opened(served)
        requests = post(served, *range(200))
        with pytest.raises(trio.BrokenResourceError):
            await forever(lambda: stream.send_all(requests))
        await stream.aclose()
        assert "result" in await served.call("supply.get")


async def test_who_calls_over_websocket_and_never_reads_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "WRITE_S_MAX", 0.5)
    async with serving() as served:
        stream = await raw_websocket(served)
        calls = frame(json.dumps([{**CALL, "method": "chain.genesis"}] * 50)) * 10
        with pytest.raises(trio.BrokenResourceError):
            await forever(lambda: stream.send_all(calls))
        await stream.aclose()
        assert "result" in await served.call("supply.get")


async def test_a_client_that_vanished_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """No packet can get lost on the loopback interface, so this asks for what the kernel is told:
    to give up on bytes that nobody acknowledges. Pings are such bytes."""
    patience_ms: list[int] = []

    class Watched(connection.Connection):
        async def run(self) -> None:
            option = socket.TCP_USER_TIMEOUT
            patience_ms.append(self._stream.socket.getsockopt(socket.IPPROTO_TCP, option))
            await super().run()

    monkeypatch.setattr(server, "Connection", Watched)
    async with serving() as served:
        assert "result" in await served.call("supply.get")
    assert patience_ms == [1000 * server.DEAD_S]
    assert server.PING_S < server.DEAD_S


async def test_half_closed_clients_leave_nothing_behind() -> None:
    subscribe = frame(json.dumps({**CALL, "method": "subscribe", "params": ["blocks"]}))
    async with serving() as served, AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(await raw_websocket(served)) for _ in range(20)]
        for stream in streams:
            await stream.send_all(subscribe)
        await until(lambda: served.backend.feed.count == 20)
        for stream in streams:
            await stream.send_eof()
        await until(lambda: served.backend.feed.count == 0)


async def test_notifications_alone_are_run_and_not_answered() -> None:
    async with serving() as served, ws(served) as session:
        silent = {"jsonrpc": "2.0", "method": "blob.put", "params": ["AA=="]}
        await session.send_message(json.dumps([silent] * 100))
        assert (await ask(session, "supply.get", id=7))["id"] == 7
        await until(lambda: len(served.backend.blobs) == 1)


async def test_deep_parameters_are_refused() -> None:
    async with serving() as served:
        for depth in (10, 400, 50_000):
            nested = "[" * depth + "]" * depth
            content = f'{{"jsonrpc":"2.0","id":1,"method":"tx.get","params":{nested}}}'
            error = (await served.post(content)).json()["error"]
            assert error["data"]["code"] in ("params_invalid", "json_malformed")


def test_memory_for_unsent_answers_is_shared_and_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bodies, "UNSENT_BYTES_MAX", 100)
    unsent = Unsent()
    with unsent.holding(60):
        with pytest.raises(Unavailable, match="overloaded"), unsent.holding(41):
            pass
        with unsent.holding(40):
            pass
    with pytest.raises(ZeroDivisionError), unsent.holding(100):
        raise ZeroDivisionError
    with unsent.holding(100):
        pass


async def test_answers_beyond_that_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "UNSENT_BYTES_MAX", 1000)
    async with serving() as served, ws(served) as session:
        large = await served.post(json.dumps([CALL] * 20))
        assert large.status_code == 503
        assert large.json()["error"]["data"]["code"] == "overloaded"
        assert "result" in await served.call("supply.get")
        refused = await ask(session, "rpc.discover")
        assert refused["error"]["data"]["code"] == "overloaded"
        assert "result" in await ask(session, "supply.get")


async def test_who_reads_a_blob_slowly_does_not_keep_it_from_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(blobs, "BLOB_GRACE_S", 0.3)
    monkeypatch.setattr(blobs, "BLOB_BYTES_PER_S_MIN", 1 << 30)
    monkeypatch.setattr(connection, "LINGER_S_MAX", 0.1)
    backend = MemoryBackend()
    cid = format_cid(await backend.put_blob(bytes(32 << 20)))  # more than buffers of sockets hold
    async with serving(backend=backend) as served, AsyncExitStack() as stack:
        request = f"GET /blob/{cid} HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode()
        for _ in range(blobs.BLOB_TRANSFERS_MAX):
            stream = await stack.enter_async_context(await opened(served))
            await stream.send_all(request)
            assert await stream.receive_some(100)
        small = format_cid(await backend.put_blob(b"small"))
        statuses: list[int] = []
        with trio.fail_after(20):
            while 200 not in statuses:
                statuses.append((await served.http.get(f"/blob/{small}")).status_code)
        assert set(statuses) <= {503, 200}


def test_what_is_owed_must_be_paid_before_the_next_call() -> None:
    rates = Rates(calls_per_s=10, burst=5)
    rates.owe("a", 25, 0.0)
    with pytest.raises(Unavailable) as caught:
        rates.take("a", 1, 0.0)
    assert caught.value.details["retry_ms"] == 2101
    rates.take("b", 5, 0.0)
    rates.take("a", 1, 2.101)


async def test_large_answers_and_blobs_count_for_more_than_a_call() -> None:
    limits = RpcLimits(calls_per_s=1, calls_burst=10, limits_loopback=True)
    backend = MemoryBackend()
    cid = format_cid(await backend.put_blob(bytes(20 * blobs.BLOB_BYTES_PER_CALL)))

    async def code_after(question: Callable[[Served], Any]) -> str | None:
        async with serving(RpcConfig(port=0, limits=limits), backend) as served:
            assert (await question(served)).status_code == 200
            answer = (await served.post(json.dumps(CALL))).json()
            code: str | None = answer.get("error", {}).get("data", {}).get("code")
            return code

    discover = json.dumps({**CALL, "method": "rpc.discover"})
    assert await code_after(lambda served: served.http.get(f"/blob/{cid}")) == "rate_limited"
    assert await code_after(lambda served: served.post(discover)) == "rate_limited"
    assert await code_after(lambda served: served.post(json.dumps([CALL] * 3))) is None
