"""The node's end of the gateway against children that die, stall and lie."""

import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio

from p2p_aios.codec.cid import cid_of
from p2p_aios.errors import Unavailable
from p2p_aios.node import gateway as module
from p2p_aios.node.gateway import Gateway, GatewayConfig, Load, open_gateway
from p2p_aios.types.compute import JobKind
from p2p_aios.types.gateway import RevealRound, RunJob, Terms
from p2p_aios.units import Address, Amount, Cid, Hash, Height

VILLAIN = Path(__file__).parent / "gateway_villain.py"
WORKER = Address(b"w" * 20)
TERMS = Terms(Hash(bytes(32)), 0, Amount(1), Height(1))
REVEAL = RevealRound(WORKER, TERMS, Hash(bytes(32)), 0, cid_of(b""))


def config_for(mood: str, folder: Path) -> GatewayConfig:
    command = (sys.executable, str(VILLAIN), mood)
    return GatewayConfig("127.0.0.2:1", folder / "token", "127.0.0.2", folder / "log", command)


@asynccontextmanager
async def open_up(mood: str, folder: Path) -> AsyncIterator[Gateway]:
    async with open_gateway(config_for(mood, folder)) as gateway:
        with trio.fail_after(30):
            await gateway.wait_up()
        yield gateway


def job_for(*inputs: bytes) -> RunJob:
    cids = tuple(map(cid_of, inputs))
    return RunJob(WORKER, TERMS, Hash(bytes(32)), 0, JobKind.EVALUATE, cids, b"")


def load_from(*blobs: bytes) -> Load:
    held = {cid_of(blob): blob for blob in blobs}

    async def load(cid: Cid) -> bytes:
        await trio.lowlevel.checkpoint()
        if cid not in held:
            raise Unavailable("blob_absent", "nobody has it")
        return held[cid]

    return load


async def code_of_ping(gateway: Gateway, timeout_s: float = 5.0) -> str:
    with pytest.raises(Unavailable) as caught:
        await gateway.ping(timeout_s)
    return caught.value.code


async def test_calls_are_answered_and_the_child_ends_with_the_block(tmp_path: Path) -> None:
    async with open_up("honest", tmp_path) as gateway:
        await gateway.ping()
        status = gateway.status()
        assert status.is_up
        assert status.restarts == 0
        assert status.pid is not None
        assert status.calls == 1
        assert 0 < status.call_s < 5
    assert not Path(f"/proc/{status.pid}").exists()
    assert await code_of_ping(gateway) == "gateway_down"


async def test_a_dying_child_fails_its_calls_and_is_replaced(tmp_path: Path) -> None:
    async with open_up("dies", tmp_path) as gateway:
        first = gateway.status().pid
        assert await code_of_ping(gateway) == "gateway_down"
        assert await code_of_ping(gateway) == "gateway_down"
        with trio.fail_after(30):
            await gateway.wait_up()
        status = gateway.status()
        assert status.restarts == 1
        assert status.last_exit == 7
        assert status.pid != first


async def test_kill_9_fails_waiting_calls_at_once(tmp_path: Path) -> None:
    async with open_up("silent", tmp_path) as gateway:
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(code_of_ping, gateway, 60.0)
            await trio.sleep(0.2)
            pid = gateway.status().pid
            assert pid is not None
            begun = trio.current_time()
            os.kill(pid, 9)
        assert trio.current_time() - begun < 5
        assert gateway.status().in_flight == 0


async def test_a_silent_child_times_out(tmp_path: Path) -> None:
    async with open_up("silent", tmp_path) as gateway:
        assert await code_of_ping(gateway, 0.1) == "compute_timeout"
        assert gateway.status().restarts == 0


@pytest.mark.parametrize("mood", ["garbage", "oversized"])
async def test_a_child_that_breaks_the_protocol_is_replaced(tmp_path: Path, mood: str) -> None:
    async with open_up(mood, tmp_path) as gateway:
        assert await code_of_ping(gateway) == "gateway_down"
        with trio.fail_after(30):
            await gateway.wait_up()
        assert gateway.status().restarts == 1


async def test_an_answer_to_another_question_is_refused(tmp_path: Path) -> None:
    async with open_up("wrong", tmp_path) as gateway:
        assert await code_of_ping(gateway) == "compute_failed"


async def test_answers_to_nobody_are_ignored(tmp_path: Path) -> None:
    async with open_up("stranger", tmp_path) as gateway:
        await gateway.ping()


async def test_calls_in_flight_are_bounded(tmp_path: Path) -> None:
    async with open_up("silent", tmp_path) as gateway, trio.open_nursery() as nursery:
        for _ in range(module.IN_FLIGHT_MAX):
            nursery.start_soon(code_of_ping, gateway, 60.0)
        with trio.fail_after(30):
            while gateway.status().in_flight < module.IN_FLIGHT_MAX:
                await trio.sleep(0.01)
        assert await code_of_ping(gateway) == "gateway_busy"
        pid = gateway.status().pid
        assert pid is not None
        os.kill(pid, 9)


async def test_blobs_are_sent_once_and_again_when_forgotten(tmp_path: Path) -> None:
    inputs = (b"one", b"two")
    load = load_from(*inputs)
    expected = b"".join(sorted(map(cid_of, inputs)))
    async with open_up("honest", tmp_path) as gateway:
        for _ in range(2):
            assert (await gateway.run_job(job_for(*inputs), load)).output == expected
    async with open_up("forgetful", tmp_path) as gateway:
        signed = await gateway.run_job(job_for(*inputs), load)
        assert b"forgotten once" in signed.output


async def test_of_many_calls_at_once_each_blob_is_read_once_and_one_at_a_time(
    tmp_path: Path,
) -> None:
    """A round's base goes to hundreds of contributors: its node must not hold a copy for each."""
    inputs = tuple(b"blob %d" % number for number in range(5))
    load, reading, most, reads = load_from(*inputs), 0, 0, 0

    async def watched(cid: Cid) -> bytes:
        nonlocal reading, most, reads
        reading, reads = reading + 1, reads + 1
        most = max(most, reading)
        await trio.sleep(0.01)
        reading -= 1
        return await load(cid)

    async with open_up("honest", tmp_path) as gateway, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(gateway.run_job, job_for(*inputs), watched)
    assert (most, reads) == (1, len(inputs))


async def test_a_missing_input_is_named(tmp_path: Path) -> None:
    async with open_up("honest", tmp_path) as gateway:
        with pytest.raises(Unavailable) as caught:
            await gateway.run_job(job_for(b"absent"), load_from())
        assert caught.value.code == "blob_absent"
        await gateway.ping()


async def test_a_child_that_cannot_be_started_costs_no_more_than_its_calls(tmp_path: Path) -> None:
    """As when the machine has no memory or descriptors left: starting raises OSError."""
    config = replace(config_for("honest", tmp_path), command=(str(tmp_path / "absent"),))
    async with open_gateway(config) as gateway:
        with trio.fail_after(10):
            while not gateway.status().restarts:
                await trio.sleep(0.02)
        assert await code_of_ping(gateway) == "gateway_down"


async def test_who_waits_for_a_child_waits_for_the_next_one_too(tmp_path: Path) -> None:
    flag = tmp_path / "second"
    fails_first = (
        "import pathlib, runpy, sys; flag = pathlib.Path(sys.argv[1]);"
        " flag.exists() or (flag.touch(), sys.exit(1));"
        " sys.argv = [sys.argv[2], 'honest']; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    command = (sys.executable, "-c", fails_first, str(flag), str(VILLAIN))
    async with open_gateway(replace(config_for("", tmp_path), command=command)) as gateway:
        with trio.fail_after(30):
            await gateway.wait_up()
        await gateway.ping()


async def test_what_opens_keys_stays_out_of_the_childs_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOS_PASSPHRASE", "opens the key")
    monkeypatch.setenv("AIOS_TOKEN", "opens the node")
    async with open_up("honest", tmp_path) as gateway:
        environment = Path(f"/proc/{gateway.status().pid}/environ").read_bytes()
    assert b"PATH=" in environment
    assert b"opens the" not in environment


async def test_large_frames_do_not_stall_trio(tmp_path: Path) -> None:
    """The longest gap between two looks at the clock, while 64 MiB go each way."""
    blob = os.urandom(32 << 20)
    gaps: list[float] = []

    async def tick() -> None:
        last = time.perf_counter()
        while True:
            await trio.sleep(0.005)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    async with open_up("honest", tmp_path) as gateway, trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        await gateway.run_job(job_for(blob), load_from(blob))
        signed = await gateway.reveal(REVEAL, timeout_s=60)
        assert len(signed.output) == 32 << 20
        nursery.cancel_scope.cancel()
    # One busy core may steal slices; encoding 32 MiB on the loop itself would take far longer.
    assert max(gaps) < 1.0


async def test_a_cancelled_call_leaves_the_pipe_whole(tmp_path: Path) -> None:
    blob = os.urandom(8 << 20)
    async with open_up("slow", tmp_path) as gateway:
        with trio.move_on_after(0.05):
            await gateway.run_job(job_for(blob), load_from(blob))
        await gateway.ping()
        assert gateway.status().restarts == 0


def test_the_real_gateway_ends_with_its_standard_input(tmp_path: Path) -> None:
    """Without a head it waits, without a Ray import; but never outlives its node."""
    command = [sys.executable, "-m", "compute.gateway", "127.0.0.2:1", "127.0.0.2"]
    child = subprocess.Popen(
        [*command, str(tmp_path / "token")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(0.5)
        assert child.poll() is None
        assert child.stdin is not None
        child.stdin.close()
        assert child.wait(10) == 0
    finally:
        child.kill()


def test_the_real_gateway_refuses_an_oversized_frame(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "compute.gateway", "127.0.0.2:1", "127.0.0.2"]
    ended = subprocess.run(
        [*command, str(tmp_path / "token")], input=b"\xff" * 64, capture_output=True, timeout=30
    )
    assert ended.returncode == 12
    assert b"frame_too_large" in ended.stderr
    assert ended.stdout == b""
