"""The agent over its real socket, asked by the actor that asks it in a cluster: what it signs, and
what it refuses."""

import os
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import trio

from compute.agent import FINISHED_MAX, Agent, Policy
from compute.agent_socket import open_agent_socket
from compute.contributor import ContributorActor
from compute.environment import AGENT_SOCKET
from compute.evaluate import evaluate
from compute.jobs import JobOutput, code_digest, environment_digest
from compute.judge import judge
from compute.local_data import LocalData, load_local_data, save_local_data
from compute.models.initial import initial_parameters
from compute.parameters import read_update, write_parameters
from compute.shard import read_shard
from p2p_aios.codec import cbor, schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.codec.frames import LENGTH_BYTES, encode_frame
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.types.compute import (
    AggregateArguments,
    EvaluateArguments,
    JobKind,
    RegisterWorker,
    SubmitReceipt,
    TrainArguments,
    input_digest,
)
from p2p_aios.types.gateway import (
    AgentCall,
    AgentReply,
    Contributor,
    Describe,
    Failure,
    RevealRound,
    RunJob,
    Signed,
    Terms,
    TrainRound,
    error_of,
)
from p2p_aios.types.learning import (
    Activation,
    CommitUpdate,
    ModelKind,
    ModelSpec,
    RevealUpdate,
    Rule,
    Score,
    TrainingPlan,
    Verdict,
    update_commitment,
)
from p2p_aios.types.transaction import Action, check_transaction
from p2p_aios.units import Address, Amount, Cid, Hash, Height

CHAIN = Hash(b"c" * 32)
TASK = Hash(b"t" * 32)
KEY = KeyPair.from_secret(b"\x07" * 32)
FEE_MAX = Amount(1000)
SPEC = ModelSpec(ModelKind.LINEAR, (3, 2), Activation.RELU)
PLAN = TrainingPlan(epochs=1, batch=8, learning_rate=100_000_000)
BASE = write_parameters(initial_parameters(SPEC, b"agent"))
KINDS = (JobKind.TRAIN, JobKind.EVALUATE, JobKind.AGGREGATE)
TERMS = Terms(CHAIN, nonce=3, fee=Amount(10), expires=Height(90))
TRAIN = TrainRound(KEY.address, TERMS, TASK, 4, SPEC, PLAN, 1 << 26, cid_of(BASE))
REVEAL = RevealRound(KEY.address, TERMS, TASK, 4, cid_of(BASE))


@asynccontextmanager
async def open_agent(folder: Path, data: LocalData, **policy: Any) -> AsyncIterator[Path]:
    """Path of a served agent's socket."""
    rules = replace(Policy(CHAIN, FEE_MAX, KINDS), **policy)
    path = folder / "agent.sock"
    async with open_agent_socket(Agent(KEY, rules, data, folder), path):
        yield path


async def call_agent(path: Path, request: Any, blobs: Sequence[bytes] = ()) -> Contributor | Signed:
    """What the agent answers; raises the error it answers."""
    with mock.patch.dict(os.environ, {AGENT_SOCKET: str(path)}):
        actor = ContributorActor()
    header = schema.encode(AgentCall(len(blobs), request))
    frame, output = await trio.to_thread.run_sync(actor.call, 20.0, header, *blobs)
    reply = schema.decode_as(AgentReply, frame)
    if isinstance(reply, Failure):
        raise error_of(reply)
    return replace(reply, output=output) if isinstance(reply, Signed) else reply


async def ask(path: Path, request: Any, *blobs: bytes) -> Signed:
    reply = await call_agent(path, request, blobs)
    assert isinstance(reply, Signed)
    return reply


def action_of(signed: Signed) -> Action:
    """The action of a transaction that the chain would take."""
    checked = check_transaction(signed.raw, CHAIN)
    assert checked.sender == KEY.address
    assert (checked.body.nonce, checked.body.fee, checked.body.expires) == (3, 10, 90)
    return checked.body.action


async def test_train_then_reveal_opens_the_commitment(tmp_path: Path, tiny_data: LocalData) -> None:
    async with open_agent(tmp_path, tiny_data) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        committed = await ask(path, TRAIN, BASE)
        revealed = await ask(path, REVEAL)
    commit, reveal = action_of(committed), action_of(revealed)
    assert isinstance(commit, CommitUpdate)
    assert isinstance(reveal, RevealUpdate)
    assert committed.output == b""
    assert reveal.update == cid_of(revealed.output)
    assert commit.commitment == update_commitment(
        CHAIN, TASK, 4, KEY.address, cid_of(BASE), reveal.update, reveal.salt
    )
    assert not isinstance(read_update(revealed.output, SPEC, TRAIN.update_limit), Verdict)


async def test_a_round_has_one_commitment_even_after_a_crash(
    tmp_path: Path, tiny_data: LocalData
) -> None:
    async with open_agent(tmp_path, tiny_data) as path:
        replies: list[Signed] = []

        async def train() -> None:
            replies.append(await ask(path, TRAIN, BASE))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(train)
    # A new process has other data in memory, yet must stand by what it committed.
    other = LocalData(tiny_data.x + 1, tiny_data.y)
    async with open_agent(tmp_path, other) as path:
        replies.append(await ask(path, TRAIN, BASE))
        again = replace(TRAIN, terms=replace(TERMS, nonce=9))
        renewed = await ask(path, again, BASE)
        revealed = action_of(await ask(path, REVEAL))
    assert len({reply.raw for reply in replies}) == 1
    body = check_transaction(renewed.raw, CHAIN).body
    assert body.nonce == 9
    assert body.action == action_of(replies[0])
    assert isinstance(revealed, RevealUpdate)


async def test_a_reveal_does_not_wait_for_work_under_way(
    tmp_path: Path, tiny_data: LocalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does signing a commitment or a receipt again: windows close while others train."""
    job = receipt_for(JobKind.TRAIN, TrainArguments(SPEC, PLAN), (BASE,))
    later = replace(TERMS, nonce=12)
    begun, go_on = trio.Event(), threading.Event()
    in_trio = trio.lowlevel.current_trio_token()

    def never_ending(*_: object) -> object:
        in_trio.run_sync_soon(begun.set)
        go_on.wait(30)
        raise Invalid("training_diverged", "at last")

    async def train_another() -> None:
        with pytest.raises(Invalid):
            await ask(path, replace(TRAIN, round=5), BASE)

    async with open_agent(tmp_path, tiny_data) as path:
        committed = await ask(path, TRAIN, BASE)
        done = await ask(path, job, BASE)
        monkeypatch.setattr("compute.agent.train_update", never_ending)
        monkeypatch.setattr("compute.agent.run_job", never_ending)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(train_another)
            await begun.wait()
            with trio.fail_after(10):
                assert (await ask(path, REVEAL)).output
                again = await ask(path, replace(TRAIN, terms=later), BASE)
                receipt = await ask(path, replace(job, terms=later), BASE)
            go_on.set()
    for first, second in ((committed, again), (done, receipt)):
        body = check_transaction(second.raw, CHAIN).body
        assert (body.nonce, body.action) == (12, action_of(first))
    assert receipt.output == done.output


async def test_of_finished_jobs_the_last_are_remembered(
    tmp_path: Path, tiny_data: LocalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    def run(request: RunJob, *_: object) -> JobOutput:
        runs.append(request.assignment)
        return JobOutput(b"output", 1)

    monkeypatch.setattr("compute.agent.run_job", run)
    job = receipt_for(JobKind.TRAIN, TrainArguments(SPEC, PLAN), (BASE,))
    async with open_agent(tmp_path, tiny_data) as path:
        for number in (*range(FINISHED_MAX + 1), FINISHED_MAX, 0):
            await ask(path, replace(job, assignment=number), BASE)
    assert runs == [*range(FINISHED_MAX + 1), 0]


REFUSED: dict[str, tuple[Any, str]] = {
    "another chain": (
        replace(TRAIN, terms=replace(TERMS, chain_id=Hash(bytes(32)))),
        "wrong_chain",
    ),
    "a high fee": (
        replace(TRAIN, terms=replace(TERMS, fee=Amount(FEE_MAX + 1))),
        "fee_over_limit",
    ),
    "another worker": (replace(TRAIN, worker=Address(bytes(20))), "wrong_worker"),
    "another base": (replace(TRAIN, base=cid_of(b"other")), "blob_mismatch"),
    "a wild learning rate": (
        replace(TRAIN, plan=TrainingPlan(500, 1, 10**12)),
        "training_diverged",
    ),
    "a tight limit": (replace(TRAIN, update_limit=1), "update_out_of_range"),
    "another shape": (
        replace(TRAIN, model=ModelSpec(ModelKind.LINEAR, (4, 2), Activation.RELU)),
        "model_misshapen",
    ),
    "no such commitment": (replace(REVEAL, round=5), "blob_mismatch"),
}


@pytest.mark.parametrize(("request_", "code"), REFUSED.values(), ids=REFUSED)
async def test_refusals_have_codes(
    tmp_path: Path, tiny_data: LocalData, request_: Any, code: str
) -> None:
    blobs = (BASE,) if isinstance(request_, TrainRound) else ()
    expected = "not_committed" if isinstance(request_, RevealRound) else code
    async with open_agent(tmp_path, tiny_data) as path:
        with pytest.raises(Invalid) as caught:
            await call_agent(path, request_, blobs)
        assert caught.value.code == expected
        assert isinstance(await call_agent(path, Describe()), Contributor)


async def test_kinds_outside_the_policy_do_not_run(tmp_path: Path, tiny_data: LocalData) -> None:
    job = RunJob(KEY.address, TERMS, TASK, 0, JobKind.AGGREGATE, (), b"")
    async with open_agent(tmp_path, tiny_data, kinds=(JobKind.EVALUATE,)) as path:
        for request in (TRAIN, job):
            with pytest.raises(Invalid) as caught:
                await call_agent(path, request, (BASE,))
            assert caught.value.code == "kind_not_allowed"


def test_registration_offers_what_the_policy_allows(tmp_path: Path, tiny_data: LocalData) -> None:
    home = Address(b"h" * 20)
    agent = Agent(KEY, Policy(CHAIN, FEE_MAX, KINDS), tiny_data, tmp_path)
    assert action_of(agent.sign_offer(TERMS, home, 2)) == RegisterWorker(home, 2, KINDS)
    for terms in (replace(TERMS, chain_id=TASK), replace(TERMS, fee=Amount(FEE_MAX + 1))):
        with pytest.raises(Invalid):
            agent.sign_offer(terms, home, 2)


async def test_the_socket_leads_a_contributor_to_no_other_home(
    tmp_path: Path, tiny_data: LocalData
) -> None:
    """Any member of a Ray cluster can have the actor pass on whatever it likes."""
    terms = cbor.decode(schema.encode(TERMS))
    forged = cbor.encode([0, [2, terms, b"h" * 20, 64]])
    async with (
        open_agent(tmp_path, tiny_data) as path,
        await trio.open_unix_socket(str(path)) as stream,
    ):
        await stream.send_all(encode_frame(forged))
        reply = b"".join([part async for part in stream])
    failure = schema.decode_as(AgentReply, reply[LENGTH_BYTES:])
    assert isinstance(failure, Failure)
    assert failure.code == "schema_mismatch"


def receipt_for(kind: JobKind, arguments: Any, inputs: tuple[bytes, ...]) -> RunJob:
    cids: tuple[Cid, ...] = tuple(map(cid_of, inputs))
    return RunJob(KEY.address, TERMS, TASK, 2, kind, cids, schema.encode(arguments))


async def test_each_job_kind_yields_a_bound_receipt(
    tmp_path: Path, tiny_data: LocalData, tiny_shard: bytes, make_task: Any
) -> None:
    updates = tuple(write_parameters(np.full(8, v, np.int32)) for v in (1, 5))
    cases = [
        (JobKind.TRAIN, TrainArguments(SPEC, PLAN), (BASE,), 40),
        (JobKind.EVALUATE, EvaluateArguments(SPEC), (BASE, tiny_shard), 40),
        (JobKind.AGGREGATE, AggregateArguments(SPEC, Rule.MEAN, 100), (BASE, *updates), 2),
    ]
    outputs = {}
    async with open_agent(tmp_path, tiny_data) as path:
        for kind, arguments, inputs, units in cases:
            job = receipt_for(kind, arguments, inputs)
            signed = await ask(path, job, *inputs)
            action = action_of(signed)
            assert isinstance(action, SubmitReceipt)
            receipt = action.receipt
            assert (receipt.job, receipt.nonce, receipt.units) == (TASK, 2, units)
            assert receipt.input == input_digest(job.inputs, job.arguments)
            assert receipt.output == cid_of(signed.output)
            assert (receipt.code, receipt.environment) == (code_digest(), environment_digest())
            outputs[kind] = signed.output
    base = initial_parameters(SPEC, b"agent")
    score = evaluate(SPEC, base, read_shard(tiny_shard, 3, 2))
    assert schema.decode(Score, outputs[JobKind.EVALUATE]) == score
    judged = judge(make_task(SPEC, BASE, tiny_shard), BASE, updates, tiny_shard)
    assert outputs[JobKind.AGGREGATE] == judged.aggregate


async def test_bad_jobs_are_refused(tmp_path: Path, tiny_data: LocalData) -> None:
    far = write_parameters(np.full(8, 101, np.int32))
    limits = AggregateArguments(SPEC, Rule.MEAN, 100)
    cases = [
        (receipt_for(JobKind.AGGREGATE, limits, (BASE, far)), (BASE, far), "update_out_of_range"),
        (receipt_for(JobKind.AGGREGATE, limits, (BASE,)), (BASE,), "job_inputs"),
        (receipt_for(JobKind.EVALUATE, EvaluateArguments(SPEC), (BASE,)), (BASE,), "job_inputs"),
        (receipt_for(JobKind.TRAIN, PLAN, (BASE,)), (BASE,), "schema_mismatch"),
    ]
    async with open_agent(tmp_path, tiny_data) as path:
        for job, inputs, code in cases:
            with pytest.raises(Invalid) as caught:
                await call_agent(path, job, inputs)
            assert caught.value.code == code


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"\x00",
        b"\xff" * 64,
        encode_frame(b"junk"),
        encode_frame(b""),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
async def test_garbage_on_the_socket_disturbs_nobody(
    tmp_path: Path, tiny_data: LocalData, garbage: bytes
) -> None:
    async with open_agent(tmp_path, tiny_data) as path:
        async with await trio.open_unix_socket(str(path)) as stream:
            if garbage:
                await stream.send_all(garbage)
        assert isinstance(await call_agent(path, Describe()), Contributor)


async def test_no_agent_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        await call_agent(tmp_path / "nobody.sock", Describe())
    assert caught.value.code == "agent_gone"


def test_local_data_round_trip_and_refusals(tmp_path: Path, tiny_data: LocalData) -> None:
    path = tmp_path / "data.npz"
    save_local_data(path, tiny_data)
    loaded = load_local_data(path)
    assert np.array_equal(loaded.x, tiny_data.x)
    assert np.array_equal(loaded.y, tiny_data.y)
    for bad in (
        {"x": np.zeros((2, 3))},
        {"x": np.zeros((2, 3)), "y": np.zeros(3, int)},
        {"x": np.full((2, 3), np.nan), "y": np.zeros(2, int)},
        {"x": np.zeros((2, 3)), "y": np.zeros(2)},
        {"x": np.array([[object()]]), "y": np.zeros(1, int)},
    ):
        np.savez(path, **bad)  # type: ignore[arg-type]
        with pytest.raises(Invalid) as caught:
            load_local_data(path)
        assert caught.value.code == "data_malformed"
    for damaged in (b"not a zip", b"PK\x03\x04 and then nothing of a zip"):
        path.write_bytes(damaged)
        with pytest.raises(Invalid):
            load_local_data(path)
    with pytest.raises(Unavailable):
        load_local_data(tmp_path / "absent.npz")
