"""Who may ask how much, and what the refused are told."""

import json
from typing import Any

import pytest
from trio_websocket import open_websocket_url

from p2p_aios.errors import Unavailable
from p2p_aios.rpc.config import RpcConfig, RpcLimits
from p2p_aios.rpc.rates import CLIENTS_MAX, Rates
from p2p_aios.sdk import Client
from tests.rpc.serving import serving

CALL = {"jsonrpc": "2.0", "id": 1, "method": "supply.get"}
TIGHT = RpcConfig(port=0, limits=RpcLimits(calls_per_s=1, calls_burst=10, limits_loopback=True))
TOKEN = "sixteen characters"


def refusal(rates: Rates, client: str, calls: int, now_s: float) -> int:
    """What it says about when to come back."""
    with pytest.raises(Unavailable) as caught:
        rates.take(client, calls, now_s)
    assert caught.value.code == "rate_limited"
    hint = caught.value.details["retry_ms"]
    assert isinstance(hint, int)
    return hint


def test_a_burst_then_the_rate() -> None:
    rates = Rates(calls_per_s=10, burst=5)
    for _ in range(5):
        rates.take("192.0.2.1", 1, 100.0)
    assert refusal(rates, "192.0.2.1", 1, 100.0) == 101
    rates.take("192.0.2.1", 1, 100.101)
    assert refusal(rates, "192.0.2.1", 1, 100.101) > 90
    rates.take("192.0.2.1", 5, 1000.0)
    refusal(rates, "192.0.2.1", 1, 1000.0)  # idle time is not hoarded


def test_the_hint_is_enough_and_refusals_take_nothing() -> None:
    rates = Rates(calls_per_s=7, burst=20)
    rates.take("a", 20, 0.0)
    waits = [refusal(rates, "a", 15, 0.0) for _ in range(3)]
    assert len(set(waits)) == 1
    refusal(rates, "a", 15, (waits[0] - 2) / 1000)
    rates.take("a", 15, waits[0] / 1000)


def test_what_exceeds_a_bucket_costs_a_full_one() -> None:
    rates = Rates(calls_per_s=1, burst=5)
    rates.take("a", 100, 0.0)
    refusal(rates, "a", 1, 0.0)


def test_clients_are_told_apart_and_ipv6_by_network() -> None:
    rates = Rates(calls_per_s=1, burst=1)
    for client in ("192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8:0:1::1"):
        rates.take(client, 1, 0.0)
    for same in ("::ffff:192.0.2.1", "2001:db8::ffff", "2001:db8:0:1:2::"):
        refusal(rates, same, 1, 0.0)


def test_memory_is_bounded_and_the_busy_are_remembered() -> None:
    rates = Rates(calls_per_s=1, burst=2)
    rates.take("busy", 1, 0.0)
    for number in range(2 * CLIENTS_MAX):
        rates.take(str(number), 1, 0.0)
        if number == CLIENTS_MAX // 2:
            rates.take("busy", 1, 0.0)
        if number == CLIENTS_MAX:
            refusal(rates, "busy", 1, 0.0)
    assert len(rates) == CLIENTS_MAX


async def test_batches_count_for_what_they_hold() -> None:
    async with serving(TIGHT) as served:
        answers = (await served.post(json.dumps([CALL] * 10))).json()
        assert all("result" in answer for answer in answers)
        refused = (await served.post(json.dumps([CALL] * 3))).json()["error"]
        assert refused["data"]["code"] == "rate_limited"
        assert 0 < refused["data"]["retry_ms"] <= 3001
        blob = await served.http.get("/blob/x")
        assert blob.status_code == 400  # a malformed name costs nothing


async def test_blobs_count_too() -> None:
    async with serving(TIGHT) as served:
        cid = (await served.call("blob.put", ["AA=="]))["result"]
        statuses = [(await served.http.get(f"/blob/{cid}")).status_code for _ in range(12)]
        assert statuses[:9] == [200] * 9
        assert 429 in statuses
        assert (await served.http.put("/blob", content=b"x")).status_code in (200, 429)


async def test_garbage_counts_and_so_do_messages_over_websocket() -> None:
    async with (
        serving(TIGHT) as served,
        open_websocket_url(f"ws://127.0.0.1:{served.port}/ws") as socket,
    ):
        codes: list[Any] = []
        for _ in range(12):
            await socket.send_message("not json")
            codes.append(json.loads(await socket.get_message())["error"]["data"]["code"])
        assert codes[:10] == ["json_malformed"] * 10
        assert "rate_limited" in codes


async def test_the_token_and_this_machine_are_exempt() -> None:
    locked = RpcConfig(
        port=0, token=TOKEN, limits=RpcLimits(calls_per_s=1, calls_burst=1, limits_loopback=True)
    )
    open_ = RpcConfig(port=0, limits=RpcLimits(calls_per_s=1, calls_burst=1))
    for config, headers in ((locked, {"authorization": f"Bearer {TOKEN}"}), (open_, {})):
        async with serving(config) as served:
            for _ in range(5):
                answer = (await served.post(json.dumps(CALL), **headers)).json()
                assert "result" in answer
    async with serving(locked) as served:
        wrong = {"authorization": "Bearer something else"}
        answers = [(await served.post(json.dumps(CALL), **wrong)).json() for _ in range(4)]
        codes = [answer.get("error", {}).get("data", {}).get("code") for answer in answers]
        assert "rate_limited" in codes


async def test_the_sdk_waits_as_long_as_it_is_told() -> None:
    limits = RpcLimits(calls_per_s=20, calls_burst=10, limits_loopback=True)
    tight = RpcConfig(port=0, limits=limits)
    async with serving(tight) as served, Client(served.url) as client:
        for _ in range(13):
            assert (await client.supply()).is_balanced
