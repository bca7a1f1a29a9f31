"""`aios blob`, `job`, `learn` and `worker` against a served node and a real job runner."""

import threading
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from compute.jobs import make_receipt, run_job
from compute.local_data import LocalData, save_local_data
from compute.models.initial import initial_parameters
from compute.parameters import read_model
from p2p_aios.cli.taskfile import DEFAULTS, build_task, example_task
from p2p_aios.codec.cid import cid_of, format_cid
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.types.gateway import RunJob, Terms
from p2p_aios.types.learning import Activation, ModelKind, ModelSpec, Rule
from p2p_aios.types.views import JobState, JobView
from p2p_aios.units import AIOS, Amount, Hash, Height
from tests.cli.conftest import Node, Run
from tests.rpc.memory_backend import BOB

Keys = dict[str, KeyPair]
SPEC = ModelSpec(ModelKind.MLP, (4, 3, 2), Activation.RELU)
ROWS = LocalData(
    np.random.Generator(np.random.PCG64(1)).random((40, 4), np.float32),
    np.arange(40, dtype=np.int64) % 2,
)
WORKER_POLL_S = 0.02


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with labelled rows in `rows.npz`."""
    monkeypatch.chdir(tmp_path)
    save_local_data(tmp_path / "rows.npz", ROWS)
    return tmp_path


@pytest.fixture
def blobs(run: Run, plugins: None, files: Path) -> Path:
    """`base.bin` and `test.bin` beside the rows."""
    assert plugins is None
    assert run("learn", "base", "--layers", "4,3,2").code == 0
    assert run("learn", "shard", "rows.npz").code == 0
    return files


@pytest.fixture
def worker(node: Node) -> Iterator[None]:
    """Runs whatever job waits at the node, as a contributor's agent would."""
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(WORKER_POLL_S):
            for id, view in list(node.backend.job_views.items()):
                if view.state is JobState.QUEUED:
                    node.backend.job_views[id] = settled(node, view)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stop.set()
    thread.join(60)


def settled(node: Node, view: JobView) -> JobView:
    job = view.specification
    terms = Terms(node.backend.chain_id, 0, Amount(0), Height(0))
    request = RunJob(BOB.address, terms, view.id, 0, job.kind, job.inputs, job.arguments)
    output = run_job(request, [node.backend.blobs[cid] for cid in job.inputs], ROWS)
    cid = cid_of(output.blob)
    node.backend.blobs[cid] = output.blob
    receipt = make_receipt(request, cid, output.units)
    return replace(view, state=JobState.SETTLED, worker=BOB.address, receipt=receipt)


def refuse_all(node: Node) -> None:
    for id, view in list(node.backend.job_views.items()):
        node.backend.job_views[id] = replace(
            view, state=JobState.REFUNDED, nonce=2, code="deadline_missed"
        )


def test_blobs_go_and_come_back(run: Run, node: Node, files: Path) -> None:
    (files / "a.bin").write_bytes(b"a" * 100)
    (files / "b.bin").write_bytes(b"b")
    put = run("blob", "put", "a.bin", "b.bin")
    cid = format_cid(cid_of(b"a" * 100))
    assert put.out.splitlines() == [f"{cid}  a.bin", f"{format_cid(cid_of(b'b'))}  b.bin"]
    assert node.backend.blobs[cid_of(b"b")] == b"b"
    assert run("blob", "put", "a.bin", "--json").json == {"file": "a.bin", "bytes": 100, "cid": cid}
    got = run("blob", "get", cid, "--out", "back.bin", "--json").json
    assert got == {"cid": cid, "bytes": 100, "file": "back.bin"}
    assert (files / "back.bin").read_bytes() == b"a" * 100
    assert run("blob", "get", cid, "--json").json["base64"].startswith("YWFh")
    shown = run("blob", "show", cid, "--json").json
    assert shown == {"cid": cid, "codec": "raw", "is_held": True, "bytes": 100}
    absent = format_cid(cid_of(b"absent"))
    assert run("blob", "show", absent, "--json").json["is_held"] is False
    missing = run("blob", "get", absent, "--json")
    assert (missing.code, missing.json["error"]["code"]) == (3, "blob_unavailable")
    unreadable = run("blob", "put", "none", "--json")
    assert (unreadable.code, unreadable.json["error"]["code"]) == (1, "blob_file_unreadable")
    unwritable = run("blob", "get", cid, "--out", "no/such/folder", "--json")
    assert (unwritable.code, unwritable.json["error"]["code"]) == (3, "file_unwritable")


@pytest.mark.usefixtures("plugins")
def test_base_and_shard(run: Run, files: Path) -> None:
    made = run("learn", "base", "--layers", "4,3,2", "--seed", "s", "--json").json
    blob = (files / "base.bin").read_bytes()
    assert (made["parameters"], made["cid"]) == (23, format_cid(cid_of(blob)))
    assert (read_model(blob, SPEC) == initial_parameters(SPEC, b"s")).all()
    shard = run("learn", "shard", "rows.npz", "--out", "test.bin", "--json").json
    assert (shard["rows"], shard["columns"], shard["classes"]) == (40, 4, 2)
    assert shard["cid"] == format_cid(cid_of((files / "test.bin").read_bytes()))
    (files / "bad.npz").write_bytes(b"no")
    for arguments, code in (
        (("base", "--layers", "4"), "layers_malformed"),
        (("base", "--layers", "4,2", "--model", "forest"), "unknown_choice"),
        (("base", "--model", "linear", "--layers", "4,3,2"), "model_malformed"),
        (("shard", "none.npz"), "data_missing"),
        (("shard", "bad.npz"), "data_malformed"),
    ):
        assert run("learn", *arguments, "--json").json["error"]["code"] == code


@pytest.mark.usefixtures("keys", "worker")
def test_jobs_run_from_files(run: Run, node: Node, blobs: Path) -> None:
    alice = ("-k", "alice", "--layers", "4,3,2", "--wait")
    ran = run("job", "submit", "evaluate", "base.bin", "test.bin", *alice)
    assert "of 40 correct" in ran.out
    assert ran.err.startswith("job ")
    trained = run("job", "submit", "train", "base.bin", "--epochs", "2", *alice, "--json").json
    assert (trained["units"], trained["score"]) == (80, None)
    fetched = run("job", "output", trained["id"], "--out", "update.bin", "--json").json
    assert fetched["file"] == "update.bin"
    assert format_cid(cid_of((blobs / "update.bin").read_bytes())) == trained["output"]
    merged = run("job", "submit", "aggregate", "update.bin", "--base", "base.bin", *alice, "--json")
    model = node.backend.blobs[cid_of((blobs / "base.bin").read_bytes())]
    aggregate = node.backend.blobs[cid_of(run_output(node, merged.json["id"]))]
    update = read_model((blobs / "update.bin").read_bytes(), SPEC)
    assert (read_model(aggregate, SPEC) == read_model(model, SPEC) + update).all()
    cids = (merged.json["output"], format_cid(cid_of((blobs / "test.bin").read_bytes())))
    scored = run("job", "submit", "evaluate", *cids, *alice, "--json").json["score"]
    assert scored["rows"] == 40
    assert run("job", "wait", trained["id"], "--json").json["output"] == trained["output"]


def run_output(node: Node, id: str) -> bytes:
    receipt = node.backend.job_views[Hash(bytes.fromhex(id))].receipt
    assert receipt is not None
    return node.backend.blobs[receipt.output]


@pytest.mark.usefixtures("keys", "blobs")
def test_a_job_that_nobody_does(run: Run, node: Node) -> None:
    order = ("job", "submit", "evaluate", "base.bin", "test.bin", "--layers", "4,3,2")
    sent = run(*order, "--payment", "2.5", "--window", "7", "-k", "alice", "--json").json
    job = run("job", "show", sent["id"], "--json").json
    assert (job["specification"]["payment"], job["specification"]["window_blocks"]) == (
        str(5 * AIOS // 2),
        7,
    )
    shown = run("job", "show", sent["id"]).out
    assert "\narguments\nmodel\n  kind        mlp\n  layers      4, 3, 2\n" in shown
    assert sent["id"] in run("job", "list").out
    early = run("job", "output", sent["id"], "--json")
    assert (early.code, early.json["error"]["code"]) == (1, "job_unsettled")
    late = run("job", "wait", sent["id"], "--timeout", "0.1", "--json")
    assert (late.code, late.json["error"]["code"]) == (3, "job_pending")
    refuse_all(node)
    refunded = run("job", "wait", sent["id"], "--json")
    assert (refunded.code, refunded.json["error"]["code"]) == (3, "job_refunded")
    assert "(deadline_missed)" in refunded.json["error"]["message"]
    assert run("job", "list", "--json").json == []
    (closed,) = run("job", "list", "--closed", "--json").json
    assert (closed["id"], closed["state"], closed["code"]) == (
        sent["id"],
        "refunded",
        "deadline_missed",
    )


@pytest.mark.usefixtures("keys", "node", "blobs")
def test_mistakes_are_found_before_they_cost(run: Run) -> None:
    for arguments, code, exit_code in (
        (("train", "base.bin", "--layers", "4,2"), "model_misshapen", 1),
        (("train", "nothing", "--layers", "4,2"), "unknown_blob", 1),
        (("train", "base.bin", "--layers", "4,3,2", "--learning-rate", "x"), "number_malformed", 2),
        (("train", "base.bin", "--layers", "4,3,2", "--epochs", "5000"), "schema_mismatch", 1),
        (("train", "base.bin", "--layers", "4,3,2", "--payment", "x"), "amount_malformed", 2),
        (("train", "base.bin", "--layers", "4,3,2", "--wait", "--no-wait"), "usage", 2),
        (("aggregate", "base.bin", "--layers", "4,3,2"), "usage", 2),
    ):
        ran = run("job", "submit", *arguments, "-k", "alice", "--json")
        assert (ran.json["error"]["code"], ran.code) == (code, exit_code)


def write_task(folder: Path, **changes: Any) -> Path:
    text = example_task().replace("[64, 64, 10]", "[4, 3, 2]")
    for name, value in ({"rounds": 2, "budget": '"10.5"'} | changes).items():
        lines = (f"{name} = {value}" if line.startswith(f"{name} =") else line for line in
                 text.splitlines())  # fmt: skip
        text = "\n".join(line for line in lines if not line.endswith("= None")) + "\n"
    (folder / "task.toml").write_text(text)
    return folder / "task.toml"


def test_the_example_names_every_field_and_the_defaults(run: Run, blobs: Path) -> None:
    assert run("learn", "example").out == example_task()
    assert run("learn", "example", "--json").json == {"toml": example_task()}
    assert run("learn", "example", "--out", "new.toml").code == 0
    document = tomllib.loads((blobs / "new.toml").read_text(), parse_float=Decimal)
    assert {name: document[name] for name in DEFAULTS} == DEFAULTS
    document["model"]["layers"] = [4, 3, 2]
    task = build_task(document, blobs).task
    bare = {name: value for name, value in document.items() if name not in DEFAULTS}
    assert build_task(bare, blobs).task == task
    assert (task.rule, task.commit_blocks, task.bond) == (Rule.MEAN, 60, AIOS)


@pytest.mark.usefixtures("keys")
def test_learning(run: Run, node: Node, blobs: Path) -> None:
    write_task(blobs)
    sent = run("learn", "submit", "task.toml", "--key", "alice", "--json").json
    base = cid_of((blobs / "base.bin").read_bytes())
    assert base in node.backend.blobs
    task = run("learn", "show", sent["id"], "--json").json["specification"]
    assert (task["base"], task["budget"]) == (format_cid(base), str(21 * AIOS // 2))
    assert (task["plan"]["learning_rate"], task["update_limit"]) == (5 * 10**7, 8 << 24)
    shown = run("learn", "show", sent["id"]).out
    assert "learning rate  0.05\n" in shown
    assert sent["id"] in run("learn", "list").out
    id = Hash(bytes.fromhex(sent["id"]))
    node.backend.settle_round(id, 0)
    node.backend.settle_round(id, 1)
    rounds = run("learn", "rounds", sent["id"], "--json").json
    assert [each["round"] for each in rounds] == [0, 1]
    assert "90 of 100 correct" in run("learn", "rounds", sent["id"], "--first", "1").out
    # What is over is told too.
    followed = run("learn", "follow", sent["id"])
    assert [line.split(":")[0].split()[-2:] for line in followed.out.splitlines()[:2]] == [
        ["round", "0"],
        ["round", "1"],
    ]
    assert followed.out.splitlines()[2].startswith("finished; ")
    assert len(run("learn", "follow", sent["id"], "--json").out.splitlines()) == 2


@pytest.mark.usefixtures("keys")
def test_following_a_submission_to_its_end(run: Run, node: Node, blobs: Path) -> None:
    write_task(blobs)
    stop = threading.Event()

    def settle() -> None:
        while not node.backend.task_views and not stop.wait(WORKER_POLL_S):
            pass
        # A round that is never opened: the chain ends such a task at once.
        for id in node.backend.task_views:
            node.backend.settle_round(id, 0)
            node.backend.settle_round(id, 1)

    thread = threading.Thread(target=settle)
    thread.start()
    try:
        ran = run("learn", "submit", "task.toml", "--key", "alice", "--follow")
    finally:
        stop.set()
        thread.join(60)
    assert ran.code == 0
    assert "round 1: 90 of 100 correct (90.0 %)" in ran.out


@pytest.mark.usefixtures("keys", "node")
def test_jobs_take_what_they_lack_from_a_task(run: Run, node: Node, blobs: Path) -> None:
    write_task(blobs)
    sent = run("learn", "submit", "task.toml", "--key", "alice", "--json").json
    like = ("--task", sent["id"], "-k", "alice", "--json")
    submitted = run("job", "submit", "evaluate", *like).json
    job = node.backend.job_views[Hash(bytes.fromhex(submitted["id"]))].specification
    assert job.inputs == tuple(
        cid_of((blobs / name).read_bytes()) for name in ("base.bin", "test.bin")
    )
    trained = run("job", "submit", "train", *like).json
    action = trained["transaction"]["body"]["action"]
    assert action["inputs"] == [format_cid(job.inputs[0])]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"rounds": None}, "task_malformed"),
        ({"rounds": 0}, "task_malformed"),
        ({"rounds": "2\ncolour = 1"}, "task_malformed"),
        ({"rounds": "= 2"}, "task_malformed"),
        ({"learning_rate": "nan"}, "number_malformed"),
        ({"learning_rate": "true"}, "number_malformed"),
        ({"update_limit": '"wide"'}, "number_malformed"),
        ({"budget": '"many"'}, "amount_malformed"),
        ({"kind": '"oracle"'}, "task_malformed"),
        ({"base_file": '"none.bin"'}, "blob_file_unreadable"),
        ({"layers": "[4, 4, 2]"}, "model_misshapen"),
    ],
)
@pytest.mark.usefixtures("keys")
def test_bad_task_files(run: Run, blobs: Path, change: dict[str, Any], code: str) -> None:
    write_task(blobs, **change)
    ran = run("--json", "learn", "submit", "task.toml", "--key", "alice")
    assert (ran.code, ran.json["error"]["code"]) == (1, code)
    missing = run("--json", "learn", "submit", "none.toml", "--key", "alice")
    assert (missing.code, missing.json["error"]["code"]) == (1, "task_file_unreadable")


@pytest.mark.usefixtures("keys", "node")
def test_retire(run: Run) -> None:
    sent = run("worker", "retire", "--key", "alice", "--json").json
    assert sent["transaction"]["body"]["action"] == {"type": "RetireWorker"}
