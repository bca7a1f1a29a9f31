"""The benchmark's cheap client understands a real node, and says so where it does not."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from p2p_aios.errors import Unavailable
from p2p_aios.rpc.config import RpcConfig, RpcLimits
from testnet.bench.rawclient import RawConnection
from testnet.bench.rpc import SUBSCRIBE
from tests.rpc.serving import serving

CALL = {"jsonrpc": "2.0", "id": 1, "method": "supply.get"}


async def test_answers_follow_each_other_on_one_connection() -> None:
    async with serving() as served, RawConnection(served.port) as connection:
        one = connection.request(json.dumps(CALL).encode())
        many = connection.request(json.dumps([CALL] * 100).encode())
        for _ in range(3):
            assert json.loads(await connection.ask(one))["result"]["is_balanced"]
            assert len(json.loads(await connection.ask(many))) == 100


async def received(connection: RawConnection, least: int) -> int:
    """Bytes, once there are more than `least`."""
    count = 0
    with trio.fail_after(30):
        while count <= least:
            count += await connection.drain(0.1)
    return count


async def test_subscribers_receive_what_is_finalized() -> None:
    async with serving() as served, RawConnection(served.port) as connection:
        await connection.follow(SUBSCRIBE)
        assert await received(connection, 30) < 60, "the answer to subscribe"
        served.backend.finalize()
        served.backend.finalize()
        assert await received(connection, 2 * 500) > 2 * 500


@asynccontextmanager
async def admitted(port: int) -> AsyncIterator[None]:
    """Hold the only connection, once the server has seen that the one before it is closed."""
    for _ in range(1000):
        async with RawConnection(port) as connection:
            try:
                await connection.ask(connection.request(json.dumps(CALL).encode()))
            except Unavailable:
                await trio.sleep(0.02)
                continue
            yield
            return
    raise AssertionError("the server never admitted a second connection")


async def test_what_is_no_answer_is_said() -> None:
    async with serving(RpcConfig(port=0, limits=RpcLimits(connections_max=1))) as served:
        async with RawConnection(served.port) as connection:
            wrong = connection.request(b"").replace(b"application/json", b"text/plain")
            with pytest.raises(Unavailable) as caught:
                await connection.ask(wrong)
            assert caught.value.code == "answer_malformed"
        async with admitted(served.port), RawConnection(served.port) as second:
            with pytest.raises(Unavailable):
                await second.follow(SUBSCRIBE)
