"""Four real nodes finalize a transfer, agree on every block, and bear a killed or stopped one.

One network for the whole file: starting four nodes takes seconds.
"""

import signal
from collections.abc import Iterator

import pytest
import trio

from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import Invalid
from p2p_aios.sdk import Client
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import AIOS, Amount
from testnet import faults
from testnet.control import open_testnet, take_down
from testnet.creation import Wish, create
from testnet.inspection import audit_supply, compare_nodes, fetch_chain, wait_height
from testnet.invariants import check_intervals, check_nothing_lost
from testnet.layout import Layout, Plan, layout_at, read_plan
from tests.net.standing_testnet import GAP_MS_MAX, longest_gap_ms, standing_testnet

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

FAULT_S_MAX = 40.0


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Layout, Plan]]:
    root = tmp_path_factory.mktemp("net") / "net"
    wish = Wish(nodes=4, workers=0, preset="fast", has_ray=False)
    with standing_testnet(root, wish) as standing:
        yield standing.layout, standing.plan


async def test_a_transfer_is_final_everywhere_and_every_unit_is_found(
    network: tuple[Layout, Plan],
) -> None:
    layout, plan = network
    alice, bob = (load_keystore(layout.wallet(name), None) for name in ("alice", "bob"))
    async with Client(plan.nodes[0].url) as client:
        before = await client.account(bob.address)
        status = await client.send_and_wait(alice, Transfer(bob.address, Amount(5 * AIOS)))
        assert status.height is not None
        after = await client.account(bob.address)
        assert after.balance - before.balance == 5 * AIOS
    for node in plan.nodes:
        async with Client(node.url) as client:
            await wait_height(client, status.height, limit_s=10)
            seen = await client.account(bob.address)
            assert seen.balance == after.balance
    async with Client(plan.nodes[3].url) as client:
        with pytest.raises(Invalid) as refusal:
            await client.send_and_wait(bob, Transfer(alice.address, Amount(2**62)))
        assert refusal.value.code == "funds_insufficient"
        _, differences = await audit_supply(client)
        assert differences == ()
        summaries = await client.blocks(1)  # type: ignore[arg-type]
        assert check_intervals([s.header.timestamp_ms for s in summaries], least_ms=500) == ()
    assert await compare_nodes(plan.nodes) == ()


async def test_a_killed_node_comes_back_and_nothing_is_lost(network: tuple[Layout, Plan]) -> None:
    layout, plan = network
    victim = plan.nodes[2]
    async with Client(victim.url) as client, Client(plan.nodes[0].url) as other:
        await wait_height(other, 6, limit_s=FAULT_S_MAX)
        before = await fetch_chain(client)
        killed = faults.kill(layout, victim.name)
        height = await wait_height(other, max(before) + 6, limit_s=FAULT_S_MAX)
        await faults.wait_restarted(layout, victim.name, killed)
        await wait_height(client, height, limit_s=FAULT_S_MAX)
        assert check_nothing_lost(before, await fetch_chain(client)) == ()
        assert await longest_gap_ms(other, max(before)) <= GAP_MS_MAX, "two time-outs at most"
    assert await compare_nodes(plan.nodes) == ()


async def test_a_stopped_node_is_passed_over_and_catches_up(network: tuple[Layout, Plan]) -> None:
    layout, plan = network
    victim = plan.nodes[1]
    faults.send_signal(layout, victim.name, signal.SIGSTOP)
    async with Client(plan.nodes[0].url) as other, Client(victim.url) as client:
        start = (await other.status()).height
        height = await wait_height(other, start + 10, limit_s=FAULT_S_MAX)
        faults.send_signal(layout, victim.name, signal.SIGCONT)
        await wait_height(client, height, limit_s=FAULT_S_MAX)
    assert await compare_nodes(plan.nodes) == ()


async def test_two_dead_of_four_halt_the_chain_and_their_return_revives_it(
    network: tuple[Layout, Plan],
) -> None:
    layout, plan = network
    for node in plan.nodes[2:]:
        faults.send_signal(layout, node.name, signal.SIGSTOP)
    async with Client(plan.nodes[0].url) as client:
        await trio.sleep(2)
        halted = (await client.status()).height
        await trio.sleep(3)
        assert (await client.status()).height == halted, "no quorum, no block"
        for node in plan.nodes[2:]:
            faults.send_signal(layout, node.name, signal.SIGCONT)
        await wait_height(client, halted + 4, limit_s=FAULT_S_MAX)
    assert await compare_nodes(plan.nodes) == ()


async def test_the_chain_goes_on_after_down_and_up(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    layout = layout_at(tmp_path_factory.mktemp("again") / "net")
    plan = create(layout, Wish(nodes=1, workers=0, has_ray=False))
    async with open_testnet(layout), Client(plan.nodes[0].url) as client:
        await wait_height(client, 4, limit_s=FAULT_S_MAX)
        before = await fetch_chain(client)
    ended = await take_down(layout)
    assert (ended.was_running, ended.ended) == (False, 0)
    async with open_testnet(layout), Client(plan.nodes[0].url) as client:
        await wait_height(client, max(before) + 2, limit_s=FAULT_S_MAX)
        assert check_nothing_lost(before, await fetch_chain(client)) == ()
    assert read_plan(layout) == plan
