"""What one message does before, between and after its calls; what is noted of each."""

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.rpc.dispatch import MESSAGE_S_MAX, RATE_LIMITED_S, TURN_S_MAX, Dispatcher
from p2p_aios.rpc.meter import OTHER, SUCCESS
from p2p_aios.rpc.methods import METHODS
from p2p_aios.rpc.methods.transaction import SubmitTransaction
from p2p_aios.rpc.registry import NoParameters, Service, method
from p2p_aios.units import Height
from tests.rpc.memory_backend import MemoryBackend
from tests.rpc.test_rpc_methods import transfer

Prepared = Callable[[Service, Sequence[Any]], Awaitable[None]]


def call(name: str, params: Any = None, **more: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": name, "params": params, "id": 1, **more}


def submission(raw: bytes) -> dict[str, Any]:
    return call("tx.submit", [raw.hex()])


def dispatcher(backend: MemoryBackend, is_authorized: bool = True) -> Dispatcher:
    return Dispatcher(Service(backend, backend.feed), METHODS, is_authorized)


async def answers(asked: Dispatcher, *calls: Any) -> list[Any]:
    answer = await asked.answer(json.dumps(list(calls)))
    return [] if answer is None else list(json.loads(answer))


def pays(backend: MemoryBackend, count: int) -> list[bytes]:
    return [transfer(backend, nonce=nonce).raw for nonce in range(count)]


async def test_transactions_of_a_message_are_checked_together_before_any_is_submitted() -> None:
    backend = MemoryBackend()
    raws = pays(backend, 3)
    backend.waiting = NoneWaitsBeforeChecked(backend)
    gift = call("supply.get")
    got = await answers(
        dispatcher(backend), submission(raws[0]), gift, submission(raws[1]), submission(raws[2])
    )
    assert all("result" in each for each in got)
    assert backend.checked_ahead == [tuple(raws)]


class NoneWaitsBeforeChecked(list[Any]):
    def __init__(self, backend: MemoryBackend) -> None:
        super().__init__()
        self._backend = backend

    def append(self, item: Any) -> None:
        assert self._backend.checked_ahead
        super().append(item)


async def test_one_submission_and_those_refused_are_not_checked_ahead() -> None:
    backend = MemoryBackend()
    (raw,) = pays(backend, 1)
    refused = call("tx.submit", ["not hex"])
    await answers(dispatcher(backend), submission(raw), refused, call("supply.get"))
    await answers(dispatcher(backend, is_authorized=False), submission(raw), submission(raw))
    assert backend.checked_ahead == []


@pytest.mark.parametrize(
    "fault", [Invalid("any", "x"), Unavailable("any", "x"), ZeroDivisionError(), None]
)
async def test_a_failed_preparation_changes_no_answer(fault: Exception | None) -> None:
    class Failing(MemoryBackend):
        async def check_ahead(self, _: tuple[bytes, ...]) -> None:
            if fault is not None:
                raise fault

    backend = Failing()
    raws = [*pays(backend, 2), b"no transaction"]
    got = await answers(dispatcher(backend), *(submission(raw) for raw in raws))
    codes = [each.get("error", {}).get("data", {}).get("code") for each in got]
    assert codes == [None, None, "cbor_malformed"]
    assert len(backend.waiting) == 2


async def test_a_disk_that_lies_while_preparing_is_not_passed_over() -> None:
    class Rotten(MemoryBackend):
        async def check_ahead(self, _: tuple[bytes, ...]) -> None:
            raise Corrupt("trie_corrupt", "a node is gone")

    backend = Rotten()
    with pytest.raises(Corrupt):
        await answers(dispatcher(backend), *(submission(raw) for raw in pays(backend, 2)))


async def test_a_preparation_that_never_ends_costs_the_message_only(
    autojump_clock: MockClock,
) -> None:
    class Stuck(MemoryBackend):
        async def check_ahead(self, _: tuple[bytes, ...]) -> None:
            await trio.sleep_forever()

    backend, begun_s = Stuck(), autojump_clock.current_time()
    got = await answers(dispatcher(backend), *(submission(raw) for raw in pays(backend, 2)))
    assert [each["error"]["data"]["code"] for each in got] == ["deadline_exceeded"] * 2
    assert autojump_clock.current_time() - begun_s == pytest.approx(MESSAGE_S_MAX)


async def test_parameters_reach_the_hook_as_the_handlers_see_them() -> None:
    seen: list[Any] = []

    async def prepare(_: Service, asked: Sequence[Any]) -> None:
        seen.extend(asked)

    backend = MemoryBackend()
    methods = {**METHODS, "tx.submit": replace(METHODS["tx.submit"], prepare=prepare)}
    raws = pays(backend, 2)
    await answers(replace(dispatcher(backend), methods=methods), *(submission(raw) for raw in raws))
    assert seen == [SubmitTransaction(raw) for raw in raws]


async def test_every_outcome_is_noted_under_a_bounded_name() -> None:
    class Broken(MemoryBackend):
        async def supply(self, _: Height | None = None) -> Any:
            raise ZeroDivisionError

    asked = dispatcher(Broken(), is_authorized=False)
    unknown = [call(f"no.such.{number}") for number in range(5)]
    silent = {"jsonrpc": "2.0", "method": "node.status"}
    await answers(
        asked, call("node.status"), call("node.status", [1]), call("supply.get"), silent,
        submission(b""), 7, *unknown,
    )  # fmt: skip
    await asked.answer(b"not json")
    await asked.answer(b"[]")
    assert asked.meter.calls == {
        ("node.status", SUCCESS): 2,
        ("node.status", "params_invalid"): 1,
        ("supply.get", "internal_error"): 1,
        ("tx.submit", "unauthorized"): 1,
        (OTHER, "request_malformed"): 2,
        (OTHER, "unknown_method"): 5,
        (OTHER, "json_malformed"): 1,
    }
    assert asked.meter.seconds["node.status"] > 0
    assert set(asked.meter.seconds) == {"node.status", "supply.get", "tx.submit", OTHER}


async def test_a_batch_of_heavy_calls_lets_others_run_between() -> None:
    turns: list[int] = []
    done = 0

    @method("heavy", NoParameters, bool)
    async def heavy(_: Service, __: NoParameters) -> bool:
        """Computes and never waits."""
        nonlocal done
        until = trio.current_time() + 2 * TURN_S_MAX
        while trio.current_time() < until:
            pass
        done += 1
        return True

    async def watch() -> None:
        while True:
            turns.append(done)
            await trio.lowlevel.checkpoint()

    asked = replace(dispatcher(MemoryBackend()), methods={"heavy": heavy})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await answers(asked, *[call("heavy")] * 8)
        nursery.cancel_scope.cancel()
    # Within one pass of the loop either task may come first.
    assert max(after - before for before, after in pairwise(turns)) <= 2


async def test_who_asks_too_much_is_told_late(autojump_clock: MockClock) -> None:
    def refuse(_: int) -> None:
        raise Unavailable("rate_limited", "wait")

    begun_s = autojump_clock.current_time()
    asked = replace(dispatcher(MemoryBackend()), charge=refuse)
    answer = json.loads(await asked.answer(json.dumps(call("supply.get"))) or b"")
    assert answer["error"]["data"]["code"] == "rate_limited"
    assert autojump_clock.current_time() - begun_s == pytest.approx(RATE_LIMITED_S)


async def test_an_id_that_json_cannot_say_is_refused() -> None:
    answer = await dispatcher(MemoryBackend()).answer(
        '{"jsonrpc":"2.0","id":1e999,"method":"supply.get"}'
    )
    read = json.loads(answer or b"")
    assert (read["id"], read["error"]["data"]["code"]) == (None, "request_malformed")


async def test_large_messages_and_answers_are_charged_for() -> None:
    charged: list[int] = []
    asked = replace(dispatcher(MemoryBackend()), charge_afterwards=charged.append)
    await asked.answer(json.dumps(call("supply.get")))
    await asked.answer(json.dumps(call("no" * 10_000)))
    await asked.answer(json.dumps([call("chain.genesis")] * 40))
    assert charged[0] == 0
    assert charged[1] == 4
    assert charged[2] > 4
