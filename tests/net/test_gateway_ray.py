"""The whole way on real processes: node's gateway → Ray head → contributor's raylet → agent.

One cluster serves all tests of this file: a head and two contributors, on loopback addresses of
their own. Slow: starting it takes tens of seconds, and each recovery about as long.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trio

from compute.judge import judge
from compute.leash import descendants_of
from compute.leftovers import end_leftovers, processes_of
from compute.local_data import LocalData, save_local_data
from compute.models.initial import initial_parameters
from compute.parameters import write_parameters
from compute.shard import make_shard, write_shard
from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.crypto.keystore import save_keystore
from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.node.gateway import Gateway, GatewayConfig, Load, open_gateway
from p2p_aios.types.compute import EvaluateArguments, JobKind, SubmitReceipt
from p2p_aios.types.gateway import JudgeRound, RevealRound, RunJob, Terms, TrainRound
from p2p_aios.types.learning import (
    Activation,
    CommitUpdate,
    ModelKind,
    ModelSpec,
    RevealUpdate,
    Rule,
    SubmitTask,
    TrainingPlan,
    Verdict,
    update_commitment,
)
from p2p_aios.types.transaction import check_transaction
from p2p_aios.units import Amount, Cid, Hash, Height

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHAIN = Hash(b"\xab" * 32)
TASK = Hash(b"t" * 32)
SPEC = ModelSpec(ModelKind.MLP, (6, 8, 3), Activation.RELU)
BASE = write_parameters(initial_parameters(SPEC, b"ray"))
KEYS = tuple(KeyPair.from_secret(bytes([n]) * 32) for n in (21, 22))
TERMS = Terms(CHAIN, 0, Amount(100), Height(50))
WAIT_S = 240
"""Patience for anything that starts processes; a loaded machine takes its time."""


def rows(seed: int, count: int = 90) -> LocalData:
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, count)
    x = random.normal(size=(count, 6)) + 2 * np.eye(3, 6)[y]
    return LocalData(x.astype(np.float32), y)


SHARD = write_shard(make_shard(rows(9).x, rows(9).y))
TASK_SPEC = SubmitTask(
    model=SPEC,
    base=cid_of(BASE),
    plan=TrainingPlan(epochs=2, batch=16, learning_rate=100_000_000),
    rule=Rule.MEAN,
    test_shard=cid_of(SHARD),
    update_limit=1 << 27,
    rounds=3,
    seats=2,
    updates_min=1,
    commit_blocks=9,
    reveal_blocks=9,
    attest_blocks=9,
    budget=Amount(1),
    bond=Amount(1),
)


@dataclass(frozen=True, slots=True)
class RunningCluster:
    root: Path
    address: str
    processes: dict[str, "subprocess.Popen[bytes]"]

    def gateway_config(self) -> GatewayConfig:
        host = self.address.rpartition(":")[0]
        return GatewayConfig(self.address, self.root / "token", host, self.root / "gateway.log")

    def ray_folder(self, name: str) -> Path:
        return self.root / "r" / name

    def pid_of(self, name: str, program: str) -> int:
        """Of a process called `program` below head or a worker."""
        below = descendants_of(self.processes[name].pid)
        return next(pid for pid, found in below.items() if found == program)

    def log_tails(self) -> str:
        texts = (f"== {p.name}\n{p.read_text()[-1500:]}" for p in sorted(self.root.glob("*.log")))
        return "\n".join(texts)


def launch(root: Path, name: str, *options: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "compute.commands", *map(str, options)]
    folder = root / "r" / name
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (root / f"{name}.log").open("ab") as output:
        return subprocess.Popen(
            [*command, "--ray-folder", str(folder), "--json"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def launch_worker(root: Path, address: str, number: int) -> "subprocess.Popen[bytes]":
    name = f"worker-{number}"
    return launch(
        root,
        name,
        "join",
        *("--address", address, "--token-file", root / "token"),
        *("--key", root / f"{name}.pem", "--data", root / f"{name}.npz"),
        *("--chain-id", CHAIN.hex(), "--node-ip", f"127.0.86.{number + 2}"),
        *("--folder", root / name, "--log-file", root / f"{name}-ray.log", "--no-register"),
    )


@contextmanager
def run_cluster(root: Path) -> Iterator[RunningCluster]:
    address = "127.0.86.1:26379"
    for number, key in enumerate(KEYS):
        save_keystore(root / f"worker-{number}.pem", key, None)
        save_local_data(root / f"worker-{number}.npz", rows(number))
    common = ("--address", address, "--token-file", root / "token")
    head = launch(root, "head", "head", *common, "--log-file", root / "head-ray.log")
    until = time.monotonic() + 30
    while not (root / "token").exists() and time.monotonic() < until:
        time.sleep(0.05)
    processes = {"head": head}
    processes |= {f"worker-{n}": launch_worker(root, address, n) for n in range(len(KEYS))}
    try:
        yield RunningCluster(root, address, processes)
    finally:
        for process in processes.values():
            process.send_signal(signal.SIGTERM)
        for process in processes.values():
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
        for name in processes:
            end_leftovers(root / "r" / name)


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    # Ray's sockets need a short path; pytest's folders are long.
    with tempfile.TemporaryDirectory(prefix="aios-") as name, run_cluster(Path(name)) as running:
        yield running


@asynccontextmanager
async def gateway_of(cluster: RunningCluster) -> AsyncIterator[Gateway]:
    async with open_gateway(cluster.gateway_config()) as gateway:
        await all_joined(cluster, gateway)
        yield gateway


async def all_joined(cluster: RunningCluster, gateway: Gateway) -> None:
    """Wait until both contributors answer."""
    with trio.move_on_after(WAIT_S):
        while True:
            await gateway.wait_up()
            if len(await answered(gateway)) == len(KEYS):
                return
            await trio.sleep(0.5)
    pytest.fail(f"the contributors did not join in {WAIT_S} s\n{cluster.log_tails()}")


async def answered(gateway: Gateway) -> set[bytes]:
    try:
        return {member.address for member in await gateway.contributors()}
    except Unavailable:
        return set()


def order(key: KeyPair, round: int = 0) -> TrainRound:
    plan, limit = TASK_SPEC.plan, TASK_SPEC.update_limit
    return TrainRound(key.address, TERMS, TASK, round, SPEC, plan, limit, cid_of(BASE))


def reveal_of(key: KeyPair, round: int = 0) -> RevealRound:
    return RevealRound(key.address, TERMS, TASK, round, cid_of(BASE))


def load_from(*blobs: bytes) -> Load:
    held = {cid_of(blob): blob for blob in blobs}

    async def load(cid: Cid) -> bytes:
        await trio.lowlevel.checkpoint()
        return held[cid]

    return load


async def train_and_reveal(gateway: Gateway, key: KeyPair, round: int = 0) -> bytes:
    """Update blob of a round whose transactions the chain would take."""
    raw = await gateway.train(order(key, round), load_from(BASE))
    commit = check_transaction(raw, CHAIN)
    signed = await gateway.reveal(reveal_of(key, round))
    reveal = check_transaction(signed.raw, CHAIN)
    assert commit.sender == reveal.sender == key.address
    assert isinstance(commit.body.action, CommitUpdate)
    assert isinstance(reveal.body.action, RevealUpdate)
    opened = reveal.body.action
    assert opened.update == cid_of(signed.output)
    assert commit.body.action.commitment == update_commitment(
        CHAIN, TASK, round, key.address, cid_of(BASE), opened.update, opened.salt
    )
    return signed.output


async def test_a_round_is_trained_revealed_and_judged(cluster: RunningCluster) -> None:
    async with gateway_of(cluster) as gateway:
        updates = [await train_and_reveal(gateway, key) for key in KEYS]
        request = JudgeRound(
            TASK_SPEC, cid_of(BASE), (cid_of(updates[0]), None, cid_of(updates[1]))
        )
        judged = await gateway.judge(request, load_from(BASE, SHARD, *updates))
        expected = judge(TASK_SPEC, BASE, [updates[0], None, updates[1]], SHARD)
        assert judged.verdicts == expected.verdicts
        assert judged.verdicts == (Verdict.ACCEPTED, Verdict.UNAVAILABLE, Verdict.ACCEPTED)
        assert (judged.aggregate, judged.score) == (expected.aggregate, expected.score)
        before = judge(TASK_SPEC, BASE, [], SHARD).score
        assert judged.score.loss < before.loss


async def test_jobs_run_and_refusals_keep_their_codes(cluster: RunningCluster) -> None:
    async with gateway_of(cluster) as gateway:
        blobs = load_from(BASE, SHARD)
        job = RunJob(
            KEYS[0].address,
            TERMS,
            TASK,
            0,
            JobKind.EVALUATE,
            (cid_of(BASE), cid_of(SHARD)),
            schema.encode(EvaluateArguments(SPEC)),
        )
        signed = await gateway.run_job(job, blobs)
        action = check_transaction(signed.raw, CHAIN).body.action
        assert isinstance(action, SubmitReceipt)
        assert action.receipt.output == cid_of(signed.output)
        cases: list[tuple[Callable[[], Any], type[AiosError], str]] = [
            (lambda: gateway.reveal(reveal_of(KEYS[0], 77)), Invalid, "not_committed"),
            (
                lambda: gateway.reveal(replace(reveal_of(KEYS[0]), worker=KEYS[0].address[::-1])),
                Unavailable,
                "worker_gone",
            ),
            (
                lambda: gateway.train(
                    replace(order(KEYS[1]), terms=replace(TERMS, chain_id=TASK)), blobs
                ),
                Invalid,
                "wrong_chain",
            ),
            (
                lambda: gateway.judge(JudgeRound(TASK_SPEC, cid_of(SHARD), ()), blobs),
                Invalid,
                "model_oversized",
            ),
        ]
        for ask, kind, code in cases:
            with pytest.raises(kind) as caught:
                await ask()
            assert caught.value.code == code


async def test_kill_9_of_the_gateway(cluster: RunningCluster) -> None:
    async with gateway_of(cluster) as gateway:
        pid = gateway.status().pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        begun = trio.current_time()
        with trio.fail_after(WAIT_S):
            while gateway.status().restarts == 0:
                await trio.sleep(0.05)
            await gateway.wait_up()
        print(f"gateway recovered in {trio.current_time() - begun:.1f} s")
        assert gateway.status().restarts == 1
        await train_and_reveal(gateway, KEYS[0], 1)


async def test_kill_9_of_a_contributor_keeps_its_commitment(cluster: RunningCluster) -> None:
    async with gateway_of(cluster) as gateway:
        raw = await gateway.train(order(KEYS[1], 2), load_from(BASE))
        committed = check_transaction(raw, CHAIN).body.action
        cluster.processes["worker-1"].kill()
        cluster.processes["worker-1"].wait()
        begun = trio.current_time()
        with trio.fail_after(30):
            while processes_of(cluster.ray_folder("worker-1")):
                await trio.sleep(0.1)
        assert KEYS[1].address not in await answered(gateway)
        await train_and_reveal(gateway, KEYS[0], 2)
        cluster.processes["worker-1"] = launch_worker(cluster.root, cluster.address, 1)
        await all_joined(cluster, gateway)
        print(f"contributor recovered in {trio.current_time() - begun:.1f} s")
        signed = await gateway.reveal(reveal_of(KEYS[1], 2))
        opened = check_transaction(signed.raw, CHAIN).body.action
        assert isinstance(committed, CommitUpdate)
        assert isinstance(opened, RevealUpdate)
        assert committed.commitment == update_commitment(
            CHAIN, TASK, 2, KEYS[1].address, cid_of(BASE), opened.update, opened.salt
        )


@pytest.mark.parametrize("victim", ["raylet", "gcs_server"])
async def test_kill_9_inside_the_head(cluster: RunningCluster, victim: str) -> None:
    async with gateway_of(cluster) as gateway:
        os.kill(cluster.pid_of("head", victim), signal.SIGKILL)
        begun = trio.current_time()
        with trio.fail_after(60):
            while await answered(gateway):
                await trio.sleep(0.2)
        await all_joined(cluster, gateway)
        print(f"{victim} recovered in {trio.current_time() - begun:.1f} s")
        await train_and_reveal(gateway, KEYS[0], 3)
        await train_and_reveal(gateway, KEYS[1], 3)


def test_nothing_is_left_after_sigterm(cluster: RunningCluster) -> None:
    folders = [cluster.ray_folder(name) for name in cluster.processes]
    assert all(processes_of(folder) for folder in folders)
    for process in cluster.processes.values():
        process.send_signal(signal.SIGTERM)
    for process in cluster.processes.values():
        assert process.wait(30) == 0
    assert not any(processes_of(folder) for folder in folders)
    assert not any(folder.exists() for folder in folders)
    head_lines = (cluster.root / "head.log").read_text().splitlines()
    ready = [json.loads(line) for line in head_lines if line.startswith("{")]
    assert all(event["event"] == "ready" for event in ready)
