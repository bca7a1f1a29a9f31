"""The benchmark's cheap client understands a real node, and says so where it does not."""

import json

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


async def test_subscribers_receive_what_is_finalized() -> None:
    async with serving() as served, RawConnection(served.port) as connection:
        await connection.follow(SUBSCRIBE)
        quiet = await connection.drain(0.3)
        served.backend.finalize()
        served.backend.finalize()
        assert 30 < quiet < 60, "the answer to subscribe"
        assert await connection.drain(0.3) > 2 * 500


async def test_what_is_no_answer_is_said() -> None:
    async with serving(RpcConfig(port=0, limits=RpcLimits(connections_max=1))) as served:
        async with RawConnection(served.port) as connection:
            wrong = connection.request(b"").replace(b"application/json", b"text/plain")
            with pytest.raises(Unavailable) as caught:
                await connection.ask(wrong)
            assert caught.value.code == "answer_malformed"
        await trio.sleep(0.1)
        async with RawConnection(served.port) as first, RawConnection(served.port) as second:
            await first.ask(first.request(json.dumps(CALL).encode()))
            with pytest.raises(Unavailable):
                await second.follow(SUBSCRIBE)
