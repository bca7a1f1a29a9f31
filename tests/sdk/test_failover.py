"""Several nodes as one: which faults go on to the next, how often, and with what pauses."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.rpc.blobs import BLOB_BYTES_PER_CALL
from p2p_aios.rpc.config import RpcLimits
from p2p_aios.sdk import Client
from p2p_aios.sdk.blobs import BLOB_BYTES_MAX
from p2p_aios.sdk.failover import HINT_MS_MAX, NODES_MAX, Nodes, hint_s
from p2p_aios.sdk.transport import Transport
from tests.rpc.memory_backend import ALICE
from tests.rpc.serving import serving

DEAD = "http://127.0.0.1:9"


def script(nodes: Nodes, answers: list[AiosError | str]) -> Callable[[Transport], Any]:
    """A question answered so; what it saw of the nodes is in `nodes.seen`."""
    asked = iter(answers)

    async def question(_: Transport) -> Any:
        nodes.seen.append(nodes.url)  # type: ignore[attr-defined]
        answer = next(asked)
        if isinstance(answer, AiosError):
            raise answer
        return answer

    nodes.seen = []  # type: ignore[attr-defined]
    return question


def gone(code: str = "node_unreachable", **details: Any) -> Unavailable:
    return Unavailable(code, "no", **details)


async def run(
    urls: list[str], answers: list[AiosError | str], tries: int = 3
) -> tuple[Any, list[str]]:
    nodes = Nodes(urls, None, tries)
    try:
        return await nodes.ask(script(nodes, answers)), nodes.seen  # type: ignore[attr-defined]
    except AiosError as fault:
        return fault.code, nodes.seen  # type: ignore[attr-defined]
    finally:
        await nodes.aclose()


@pytest.mark.parametrize(
    ("urls", "answers", "result", "seen"),
    [
        (["a", "b"], ["yes"], "yes", "a"),
        (["a", "b"], [gone(), "yes"], "yes", "ab"),
        (["a", "b"], [gone(), gone(), gone(), "yes"], "yes", "abab"),
        (["a", "b"], [gone()] * 6, "node_unreachable", "ababab"),
        (["a"], [gone("overloaded"), "yes"], "yes", "aa"),
        (["a"], [gone()] * 3, "node_unreachable", "aaa"),
        (["a", "b"], [gone("height_pruned"), "yes"], "yes", "ab"),
        (["a", "b"], [gone("height_pruned")] * 2, "height_pruned", "ab"),
        (["a"], [gone("height_pruned")], "height_pruned", "a"),
        (["a", "b"], [gone("blob_unavailable")], "blob_unavailable", "a"),
        (["a", "b"], [Invalid("unknown_task", "no")], "unknown_task", "a"),
    ],
)
async def test_who_is_asked(
    urls: list[str],
    answers: list[AiosError | str],
    result: str,
    seen: str,
    autojump_clock: trio.testing.MockClock,
) -> None:
    assert await run(urls, answers) == (result, list(seen))
    assert autojump_clock.autojump_threshold == 0


async def test_pauses_double_and_follow_the_hint(autojump_clock: trio.testing.MockClock) -> None:
    assert autojump_clock.autojump_threshold == 0
    begun = trio.current_time()
    await run(["a", "b"], [gone(), "yes"])
    assert trio.current_time() == begun, "the next node is asked at once"
    await run(["a"], [gone()] * 6, tries=6)
    waited = trio.current_time() - begun
    assert 3.1 / 2 <= waited <= 3.1, "five pauses of 0.1 s, doubling, each at least half"
    begun = trio.current_time()
    await run(["a"], [gone("rate_limited", retry_ms=2000), "yes"])
    assert trio.current_time() - begun == pytest.approx(2)
    begun = trio.current_time()
    await run(["a"], [gone("rate_limited", retry_ms=10**9), "yes"])
    assert trio.current_time() - begun == pytest.approx(HINT_MS_MAX / 1000)


@pytest.mark.parametrize(
    ("retry_ms", "waited_s"),
    [(250, 0.25), (-5, 0), ("5", 0), pytest.param(10**400, HINT_MS_MAX / 1000, id="huge")],
)
def test_hints_are_bounded(retry_ms: Any, waited_s: float) -> None:
    assert hint_s(gone(retry_ms=retry_ms)) == waited_s


def test_the_largest_answer_can_be_made_up_for() -> None:
    """Its price, at the default rate, once the burst is spent."""
    price_s = BLOB_BYTES_MAX / BLOB_BYTES_PER_CALL / RpcLimits().calls_per_s
    assert 1000 * price_s < HINT_MS_MAX


async def test_a_dead_node_is_passed_over_and_left_alone() -> None:
    async with serving() as served, Client([DEAD, served.url]) as client:
        assert (await client.status()).network == "memory"
        assert (await client.account(ALICE.address)).nonce == 0
        async with client.subscribe_blocks() as blocks:
            served.backend.finalize()
            assert (await anext(blocks)).header.height == 1


async def test_subscriptions_pass_over_a_dead_node() -> None:
    async with (
        serving() as served,
        Client([DEAD, served.url]) as client,
        client.subscribe_blocks() as blocks,
    ):
        served.backend.finalize()
        assert (await anext(blocks)).header.height == 1


@pytest.mark.parametrize("urls", [[], [DEAD] * (NODES_MAX + 1)])
def test_no_node_or_too_many(urls: list[str]) -> None:
    with pytest.raises(Invalid) as caught:
        Client(urls)
    assert caught.value.code == "nodes_malformed"
