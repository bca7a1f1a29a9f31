"""Real nodes, a real Ray cluster, real contributors: rounds settle whoever is killed meanwhile."""

import pytest
import trio

from p2p_aios.errors import Invalid
from p2p_aios.sdk import Client
from p2p_aios.types.views import GatewayState
from testnet import faults
from testnet.control import open_testnet
from testnet.creation import Wish, create
from testnet.demo.follow import follow
from testnet.demo.progress import Progress
from testnet.demo.submission import submit_digits
from testnet.digits import digits_task
from testnet.inspection import audit_supply, compare_nodes
from testnet.layout import RAY_HEAD, Layout, Plan, layout_at
from testnet.processes import find_processes
from testnet.verification import verify_settled_round

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

ROUNDS = 12
ROUND_S_MAX = 60.0
"""For one more round to settle, faults included."""
GAP_MS_MAX = 2_500
"""Longest distance of two blocks while Ray and contributors die: consensus takes no notice."""


async def settle(progress: Progress, rounds: int) -> None:
    """Wait until so many rounds ended, settled or voided."""
    with trio.fail_after(ROUND_S_MAX * (1 + rounds - len(progress.rounds))):
        while len(progress.rounds) + progress.voided < rounds and not progress.is_finished:
            await trio.sleep(0.1)


async def test_rounds_settle_whoever_is_killed(tmp_path_factory: pytest.TempPathFactory) -> None:
    layout = layout_at(tmp_path_factory.mktemp("learning") / "net")
    plan = await trio.to_thread.run_sync(create, layout, Wish(nodes=4, workers=3))
    progress = Progress()
    async with open_testnet(layout), Client(plan.nodes[0].url) as client:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow, client, progress, lambda: None, trio.Event())
            task = digits_task(layout, plan, ROUNDS)
            await submit_digits(layout, client, task, progress.follow_task)
            await settle(progress, 2)
            for number, victim in enumerate(("worker-0", "gateway-1", "node-3", RAY_HEAD)):
                await _kill_in_a_round(layout, progress, victim)
                await settle(progress, 3 + 2 * number)
            await settle(progress, ROUNDS)
            nursery.cancel_scope.cancel()
        assert progress.voided <= 4, "a killed Ray head may void rounds, nothing else does"
        assert len(progress.rounds) >= ROUNDS - 4
        assert progress.rounds[-1].accuracy > 0.85
        assert max(progress.intervals_ms) < GAP_MS_MAX
        await _check_claims(client, plan, progress)
    assert find_processes(plan.id) == ()


async def _kill_in_a_round(layout: Layout, progress: Progress, victim: str) -> None:
    """Not between rounds: just after a block arrived while one is open."""
    height = progress.height
    while progress.height == height:
        await trio.sleep(0.02)
    killed = faults.kill(layout, victim)
    if not victim.startswith("gateway"):
        await faults.wait_restarted(layout, victim, killed)


async def _check_claims(client: Client, plan: Plan, progress: Progress) -> None:
    assert progress.task is not None
    for settled in (progress.rounds[0], progress.rounds[-1]):
        found = await verify_settled_round(client, progress.task, settled.number)
        assert found.differences == ()
    with pytest.raises(Invalid) as refusal:
        await verify_settled_round(client, progress.task, ROUNDS + 1)
    assert "unknown" in refusal.value.code
    _, differences = await audit_supply(client)
    assert differences == ()
    assert await compare_nodes(plan.nodes) == ()
    for node in plan.nodes:
        async with Client(node.url) as each:
            with trio.fail_after(60):
                while (await each.status()).gateway is not GatewayState.READY:
                    await trio.sleep(0.5)
