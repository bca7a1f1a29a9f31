"""The supervisor, with real processes: restarts, orderly ends, and ends that are anything but."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from p2p_aios.errors import Unavailable
from testnet.control import open_testnet, start_supervisor, take_down, wait_ready
from testnet.faults import send_signal
from testnet.layout import Layout, read_plan, runtime_folder
from testnet.processes import ProcessId, find_processes, is_alive, signal_process, sweep
from testnet.service import Phase, Service, ServiceSpec
from testnet.state import EnsembleState, is_supervised, read_state
from testnet.status import survey

SLEEPERS = (str(Path(__file__).parent / "sleepers.py"),)
SPEAKER = """
import pathlib, sys, time
while not pathlib.Path(sys.argv[1]).exists():
    time.sleep(0.02)
print('I am ready', flush=True)
time.sleep(600)
"""
"""Says it on cue, so that a slow machine does not miss what came before."""
FAMILY = 2
"""A sleeper and its grandchild."""


def everyone(layout: Layout) -> tuple[ProcessId, ...]:
    state = read_state(layout)
    leaders = state.leaders if state else ()
    return tuple(row.id for row in find_processes(read_plan(layout).id, leaders=leaders))


async def until(condition: Callable[[], bool], what: str) -> None:
    with trio.fail_after(60):
        while not condition():
            await trio.sleep(0.05)
    assert condition(), what


async def start(layout: Layout) -> tuple["subprocess.Popen[bytes]", EnsembleState]:
    supervisor = start_supervisor(layout, program=SLEEPERS)
    state = await wait_ready(layout, supervisor, limit_s=60)
    await until(lambda: len(everyone(layout)) == 2 * FAMILY, "two sleepers with a grandchild each")
    return supervisor, state


async def test_a_dead_child_is_restarted_and_its_orphans_end(going_down: Layout) -> None:
    _, state = await start(going_down)
    before = everyone(going_down)
    victim = state.service("node-0")
    assert victim is not None
    assert victim.process is not None
    signal_process(victim.process, signal.SIGKILL)

    def is_back() -> bool:
        now = read_state(going_down)
        service = now.service("node-0") if now else None
        return service is not None and service.restarts == 1 and service.phase is Phase.RUNNING

    await until(is_back, "node-0 restarted")
    await until(lambda: len(everyone(going_down)) == 2 * FAMILY, "nothing more than before")
    assert len(set(before) & set(everyone(going_down))) == FAMILY, "node-1 was not disturbed"


async def test_sigterm_ends_everything_and_a_second_start_works_at_once(going_down: Layout) -> None:
    for _ in range(2):
        supervisor, _ = await start(going_down)
        assert runtime_folder(read_plan(going_down)).is_dir()
        supervisor.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(supervisor.wait) == 0
        assert everyone(going_down) == ()
        assert not runtime_folder(read_plan(going_down)).exists()


async def test_down_after_the_supervisor_was_killed_leaves_nothing(layout: Layout) -> None:
    supervisor, _ = await start(layout)
    supervisor.kill()
    supervisor.wait()
    assert len(everyone(layout)) == 2 * FAMILY, "the children go on without it"
    assert (await survey(layout)).orphans == 2 * FAMILY
    ended = await take_down(layout)
    assert not ended.was_running
    assert ended.ended == 2 * FAMILY
    assert everyone(layout) == ()


async def test_orphans_of_a_dead_child_are_found_without_any_mark(layout: Layout) -> None:
    supervisor, state = await start(layout)
    supervisor.kill()
    supervisor.wait()
    for service in state.services:
        assert service.process is not None
        signal_process(service.process, signal.SIGKILL)
    await until(lambda: len(everyone(layout)) == FAMILY, "the wiped grandchildren are left")
    assert find_processes(read_plan(layout).id) == (), "no mark leads to them"
    await take_down(layout)
    assert everyone(layout) == ()


async def test_start_after_the_supervisor_was_killed_clears_up_first(going_down: Layout) -> None:
    supervisor, _ = await start(going_down)
    before = everyone(going_down)
    supervisor.kill()
    supervisor.wait()
    await start(going_down)
    assert not any(is_alive(process) for process in before)


async def test_two_supervisors_in_one_folder_are_refused(going_down: Layout) -> None:
    await start(going_down)
    with pytest.raises(Unavailable) as refusal:
        start_supervisor(going_down, program=SLEEPERS)
    assert refusal.value.code == "testnet_running"
    second = subprocess.run(
        [sys.executable, *SLEEPERS, str(going_down.root)], capture_output=True, timeout=60
    )
    assert second.returncode == 1
    assert b"testnet_running" in second.stderr


async def test_a_taken_port_is_named_before_anything_starts(going_down: Layout) -> None:
    port = read_plan(going_down).nodes[0].rpc_port
    with trio.socket.socket() as taken:
        await taken.bind(("127.0.0.1", port))
        taken.listen()
        supervisor = start_supervisor(going_down, program=SLEEPERS)
        with pytest.raises(Unavailable) as refusal:
            await wait_ready(going_down, supervisor, limit_s=60)
    assert "testnet_port_taken" in refusal.value.message
    assert str(port) in refusal.value.message


async def test_a_stopped_child_still_ends(going_down: Layout) -> None:
    supervisor, _ = await start(going_down)
    send_signal(going_down, "node-1", signal.SIGSTOP)
    with trio.fail_after(60):
        await take_down(going_down)
    supervisor.wait()
    assert everyone(going_down) == ()


async def test_down_right_after_up_finds_the_supervisor(layout: Layout) -> None:
    supervisor = start_supervisor(layout, program=SLEEPERS)
    await until(lambda: is_supervised(layout), "the lock is held")
    layout.state_file.unlink(missing_ok=True)
    ended = await take_down(layout)
    assert ended.was_running
    assert await trio.to_thread.run_sync(supervisor.wait) is not None
    assert everyone(layout) == ()


async def test_everything_ends_when_the_leash_breaks(layout: Layout) -> None:
    reader, leash = os.pipe()
    supervisor = start_supervisor(layout, reader, SLEEPERS)
    os.close(reader)
    await wait_ready(layout, supervisor, limit_s=60)
    os.close(leash)
    assert await trio.to_thread.run_sync(supervisor.wait) == 0
    assert everyone(layout) == ()


async def test_an_open_testnet_closes_with_its_block(layout: Layout) -> None:
    async with open_testnet(layout, program=SLEEPERS) as state:
        assert state.ready
        assert is_supervised(layout)
    assert not is_supervised(layout)
    assert everyone(layout) == ()


async def test_sweep_spares_processes_that_are_not_ours(layout: Layout) -> None:
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        await start(layout)
        await take_down(layout)
        assert bystander.poll() is None
        assert await sweep("0" * 16) == ()
    finally:
        bystander.kill()
        bystander.wait()


async def test_what_a_run_said_is_told_from_what_an_earlier_one_said(tmp_path: Path) -> None:
    changed = trio.Event()
    log = tmp_path / "speaker.log"
    log.write_text("I am ready, said an earlier one\n")
    cue = tmp_path / "cue"
    spec = ServiceSpec("speaker", (sys.executable, "-c", SPEAKER, str(cue)), log, tmp_path, {})
    service = Service(spec, "5" * 16, changed.set)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run)
        await until(lambda: service.phase is Phase.RUNNING, "it runs")
        assert not service.has_said("I am ready")
        cue.touch()
        await until(lambda: service.has_said("I am ready"), "it said so")
        await service.stop()
    assert not service.has_said("I am ready")
    assert service.exit_status == -signal.SIGTERM
