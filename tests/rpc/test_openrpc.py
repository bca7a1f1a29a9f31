"""`rpc.discover` says of every method what the node does, in schemas that its answers satisfy."""

from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from typing import Annotated, Any

import pytest
from jsonschema import Draft7Validator

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Size
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import Invalid, InvariantBroken
from p2p_aios.rpc.jsonschema import Schemas
from p2p_aios.rpc.methods import METHODS
from p2p_aios.rpc.openrpc import describe_interface
from p2p_aios.rpc.registry import JSON, read_parameters
from p2p_aios.sdk import Client
from p2p_aios.types.transaction import Action
from p2p_aios.types.views import NodeStatus
from p2p_aios.units import Amount, Hash
from tests.rpc.memory_backend import ALICE, BOB
from tests.rpc.serving import serving
from tests.rpc.test_rpc_methods import submit, transfer

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


async def test_answers_satisfy_their_schemas() -> None:
    async with serving() as served:
        sent = transfer(served.backend)
        await submit(served, sent)
        served.backend.finalize()
        asked: dict[str, Any] = {
            "node.status": {},
            "node.peers": {},
            "chain.genesis": {},
            "block.get": {"height": 1, "transactions": True, "outcome": True},
            "block.range": {"first": 1},
            "account.get": {"address": format_address(ALICE.address)},
            "validator.list": {},
            "committee.get": {},
            "supply.get": {},
            "tx.get": {"id": sent.id.hex()},
            "worker.list": {},
            "blob.has": {"cid": (await served.call("blob.put", ["AA=="]))["result"]},
        }
        for name, params in asked.items():
            answer = (await served.call(name, params))["result"]
            validator(DESCRIBED[name]["result"]["schema"]).validate(answer)
            by_name = {each["name"]: each["schema"] for each in DESCRIBED[name]["params"]}
            for key, value in params.items():
                validator(by_name[key]).validate(value)


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
