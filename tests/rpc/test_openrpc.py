"""`rpc.discover` says of every method what the node does, in schemas that its answers satisfy."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import pytest
from jsonschema import Draft7Validator

from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.codec.limits import Size
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import Invalid, InvariantBroken
from p2p_aios.rpc.jsonschema import Schemas
from p2p_aios.rpc.methods import METHODS
from p2p_aios.rpc.openrpc import describe_interface
from p2p_aios.rpc.registry import JSON, read_parameters
from p2p_aios.sdk import Client, sign_action
from p2p_aios.sdk.socket import open_socket
from p2p_aios.types.compute import JobKind, SubmitJob
from p2p_aios.types.transaction import Action
from p2p_aios.types.views import BlockSummary, EventNotice, NodeStatus, ReceiptNotice
from p2p_aios.units import Amount, Hash, Height
from tests.node.chain_backend import ChainBackend
from tests.node.founders import Founders
from tests.rpc.memory_backend import ALICE, BOB, GENESIS
from tests.rpc.serving import serving
from tests.sdk.test_client import GIFT, TASK

DOCUMENT = describe_interface(METHODS.values())
DESCRIBED = {method["name"]: method for method in DOCUMENT["methods"]}


def validator(described: dict[str, Any]) -> Draft7Validator:
    """With the document's components at hand."""
    return Draft7Validator({**described, "components": DOCUMENT["components"]})


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list):
        for item in value:
            yield from references(item)


def test_document_is_openrpc_and_closed() -> None:
    assert DOCUMENT["openrpc"] == "1.3.2"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    for reference in references(DOCUMENT):
        section, name = reference.removeprefix("#/components/").split("/")
        assert name in DOCUMENT["components"][section], reference
    for described in DOCUMENT["components"]["schemas"].values():
        Draft7Validator.check_schema(described)


def test_every_method_is_described_once() -> None:
    assert [method["name"] for method in DOCUMENT["methods"]] == sorted(METHODS)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_method_is_described_as_it_is_registered(name: str) -> None:
    method, described = METHODS[name], DESCRIBED[name]
    assert described["summary"] == method.summary
    assert described["x-changes-state"] is method.changes_state
    assert described["x-websocket-only"] is method.is_on_socket
    declared = fields(method.parameters)
    assert [each["name"] for each in described["params"]] == [field.name for field in declared]
    for field, parameter in zip(declared, described["params"], strict=True):
        assert parameter["required"] is (field.default is MISSING)
        Draft7Validator.check_schema(parameter["schema"])
        if not parameter["required"]:
            assert validator(parameter["schema"]).is_valid(parameter["schema"]["default"])
    # A parameter that may be left out never stands before one that may not.
    required = [parameter["required"] for parameter in described["params"]]
    assert required == sorted(required, reverse=True)
    expected = {} if method.result is JSON else Schemas("#/components/schemas/").of(method.result)
    assert described["result"]["schema"] == expected


def check(name: str, params: dict[str, Any], answer: Any) -> None:
    """Both what was asked and what was answered are as described."""
    validator(DESCRIBED[name]["result"]["schema"]).validate(answer)
    described = {each["name"]: each["schema"] for each in DESCRIBED[name]["params"]}
    for key, value in params.items():
        validator(described[key]).validate(value)


async def test_answers_satisfy_their_schemas() -> None:
    async with serving() as served:
        backend = served.backend
        chain_id, params = backend.chain_id, GENESIS.params
        job = SubmitJob(JobKind.EVALUATE, (cid_of(b"x"),), b"", Amount(1), 10)
        actions: tuple[Action, ...] = (GIFT, job, TASK)
        gift, job_raw, task_raw = (
            sign_action(ALICE, chain_id, params, action, nonce=nonce, expires=Height(50))
            for nonce, action in enumerate(actions)
        )
        submissions = {"tx.submit": gift, "job.submit": job_raw, "learn.submit": task_raw}
        for name, sent in submissions.items():
            asked = {"raw": sent.raw.hex()}
            check(name, asked, (await served.call(name, asked))["result"])
        check("tx.get", {}, (await served.call("tx.get", {"id": gift.id.hex()}))["result"])
        backend.finalize()
        task = task_raw.id.hex()
        backend.settle_round(task_raw.id, 0)
        cid = (await served.call("blob.put", ["AA=="]))["result"]
        questions: dict[str, dict[str, Any]] = {
            "node.status": {},
            "node.peers": {},
            "chain.genesis": {},
            "rpc.discover": {},
            "block.get": {"height": 1, "transactions": True, "outcome": True},
            "block.range": {"first": 1},
            "account.get": {"address": format_address(ALICE.address)},
            "validator.list": {"height": 1},
            "committee.get": {"epoch": 0, "height": 1},
            "supply.get": {},
            "tx.get": {"id": gift.id.hex()},
            "tx.wait": {"id": gift.id.hex(), "timeout_ms": 1},
            "worker.list": {},
            "job.get": {"id": job_raw.id.hex()},
            "job.list": {"closed": False},
            "learn.get": {"id": task},
            "learn.list": {},
            "learn.round": {"task": task, "round": 0},
            "learn.rounds": {"task": task},
            "blob.put": {"data": "AA=="},
            "blob.get": {"cid": cid},
            "blob.has": {"cid": cid},
        }
        for name, asked in questions.items():
            answer = (await served.call(name, asked))["result"]
            assert answer not in (None, [], {}), f"{name} says nothing that could be wrong"
            check(name, asked, answer)
    elsewhere = {"state.proof", "block.proof", "subscribe", "unsubscribe"}
    assert {*questions, *submissions} == set(METHODS) - elsewhere


async def test_proofs_satisfy_their_schemas(tmp_path: Path) -> None:
    founders = Founders()
    async with founders.open_chain(tmp_path / "chain") as chain:
        await founders.extend(chain)
        async with serving(backend=ChainBackend(chain)) as served:  # type: ignore[arg-type]
            state: dict[str, Any] = {"account": format_address(ALICE.address), "height": 1}
            check("state.proof", state, (await served.call("state.proof", state))["result"])
            check("block.proof", {}, (await served.call("block.proof"))["result"])


async def test_what_sockets_bring_satisfies_its_schemas() -> None:
    async with serving() as served, open_socket(served.url, None) as socket:
        kinds = {"blocks": BlockSummary, "events": EventNotice, "receipts": ReceiptNotice}
        for nonce, (topic, kind) in enumerate(kinds.items()):
            asked = {"topic": topic}
            answer = await socket.call("subscribe", asked)
            check("subscribe", asked, answer)
            gift = sign_action(
                ALICE,
                served.backend.chain_id,
                GENESIS.params,
                GIFT,
                nonce=nonce,
                expires=Height(50),
            )
            await served.backend.submit(gift.raw)
            served.backend.finalize()
            schemas = Schemas("#/components/schemas/")
            described = {**schemas.of(kind), "components": {"schemas": schemas.named}}
            Draft7Validator(described).validate(await socket.next_notice())
            ended = {"subscription": answer}
            check("unsubscribe", ended, await socket.call("unsubscribe", ended))


@pytest.mark.parametrize(
    ("name", "parameter", "wrong"),
    [
        ("account.get", "address", "aios2qqqq"),
        ("account.get", "address", 7),
        ("tx.get", "id", "00" * 31),
        ("tx.get", "id", "AA" * 32),
        ("tx.wait", "timeout_ms", 1_000_000),
        ("block.get", "height", -1),
        ("block.range", "count", 0),
        ("job.list", "limit", 101),
        ("learn.list", "after", "xyz"),
        ("blob.has", "cid", "Qm"),
    ],
)
def test_schemas_refuse_what_the_node_refuses(name: str, parameter: str, wrong: Any) -> None:
    described = {each["name"]: each["schema"] for each in DESCRIBED[name]["params"]}
    assert not validator(described[parameter]).is_valid(wrong)
    others = {"tx.wait": {"id": "00" * 32}, "block.range": {"first": 1}}.get(name, {})
    with pytest.raises(Invalid):
        read_parameters(METHODS[name].parameters, {**others, parameter: wrong})


def test_unions_are_told_apart_by_their_type() -> None:
    schemas = Schemas("#/components/schemas/")
    described = {**schemas.of(Action), "components": {"schemas": schemas.named}}
    union = Draft7Validator(described)
    gift = {"type": "Transfer", "recipient": format_address(BOB.address), "amount": "5"}
    union.validate(gift)
    for wrong in ({**gift, "type": "Nothing"}, {**gift, "amount": 5}, {**gift, "more": 1}):
        assert not union.is_valid(wrong)


def test_two_types_of_one_name_are_noticed() -> None:
    @dataclass(frozen=True, slots=True)
    class NodeStatusTwin:
        height: int

    NodeStatusTwin.__name__ = "NodeStatus"
    schemas = Schemas("#/")
    schemas.of(NodeStatus)
    with pytest.raises(InvariantBroken):
        schemas.of(NodeStatusTwin)


def test_bounds_narrowed_in_place_win_over_the_name() -> None:
    schemas = Schemas("#/")
    narrowed = schemas.of(Annotated[Hash, Size(1, 4)])
    assert narrowed["maxLength"] == 8
    assert schemas.of(Hash) == {"$ref": "#/Hash"}
    assert schemas.of(Amount) == {"$ref": "#/Amount"}
    with pytest.raises(TypeError):
        schemas.of(float)


async def test_the_node_describes_itself() -> None:
    async with serving() as served, Client(served.url) as client:
        assert await client.discover() == DOCUMENT
        assert schema.to_json(await client.status())["network"] == "memory"
