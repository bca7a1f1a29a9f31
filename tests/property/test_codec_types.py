"""Every type that travels or is stored, from a strategy built out of its own annotations.

The fuzz invariant: bytes either decode to a value that encodes to the same bytes, or raise
Invalid; never anything else.
"""

import importlib
import json
import pkgutil
import types
import typing
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, NewType, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

import p2p_aios.types
from p2p_aios.codec import cbor, schema
from p2p_aios.codec.cid import DAG_CBOR, RAW, cid_of
from p2p_aios.codec.limits import Range, Size
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid
from p2p_aios.params import Params
from p2p_aios.types.block import Proposal
from p2p_aios.types.event import Events
from p2p_aios.types.transaction import Action, Transaction, check_transaction
from p2p_aios.units import Cid, Hash

ITEMS_MAX = 3
"""Longest generated tuple: bounds of length have examples in tests/codec/test_schema.py."""


def record_types() -> list[type]:
    found = [Params]
    for module in pkgutil.iter_modules(p2p_aios.types.__path__, "p2p_aios.types."):
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.name:
                found.append(value)
    # What no schema covers never travels: these are results, and a choice among what does.
    results = ("CheckedTransaction", "EncodedOutcome", "EventFilter")
    return [kind for kind in found if kind.__name__ not in results]


@cache
def values(annotation: Any) -> st.SearchStrategy[Any]:
    bounds: list[Any] = []
    while isinstance(annotation, NewType) or get_origin(annotation) is Annotated:
        if annotation is Cid:
            return st.builds(cid_of, st.binary(max_size=4), st.sampled_from([RAW, DAG_CBOR]))
        if isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        else:
            annotation, *more = get_args(annotation)
            bounds = bounds or more
    size = next((bound for bound in bounds if isinstance(bound, Size)), None)
    if annotation is int:
        span = next((bound for bound in bounds if isinstance(bound, Range)), Range(0, 2**64 - 1))
        return st.integers(span.least, span.most) | st.sampled_from([span.least, span.most])
    if annotation is bool:
        return st.booleans()
    if annotation is bytes:
        assert size
        return st.binary(min_size=size.least, max_size=max(size.least, min(size.most, 40)))
    if annotation is str:
        assert size
        letters = st.text(max_size=20).filter(lambda text: len(text.encode()) <= size.most)
        return letters.filter(lambda text: len(text.encode()) >= size.least)
    if isinstance(annotation, type) and issubclass(annotation, int):
        return st.sampled_from(list(annotation))  # type: ignore[call-overload]
    if is_dataclass(annotation):
        hints = typing.get_type_hints(annotation, include_extras=True)
        return st.builds(annotation, *(values(hints[f.name]) for f in fields(annotation)))  # type: ignore[arg-type]
    if get_origin(annotation) is tuple:
        return tuples(get_args(annotation), size)
    assert get_origin(annotation) in (Union, types.UnionType), annotation
    return st.one_of(*(st.none() if m is type(None) else values(m) for m in get_args(annotation)))


def tuples(args: tuple[Any, ...], size: Size | None) -> st.SearchStrategy[Any]:
    if args[-1] is not Ellipsis:
        return st.tuples(*(values(arg) for arg in args))
    assert size
    most = max(size.least, min(size.most, ITEMS_MAX))
    return st.lists(values(args[0]), min_size=size.least, max_size=most).map(tuple)


@pytest.mark.parametrize("kind", record_types(), ids=lambda kind: kind.__name__)
def test_bytes_and_json_round_trips(kind: type) -> None:
    @given(values(kind))
    def check(value: Any) -> None:
        data = schema.encode(value)
        assert schema.decode(kind, data) == value
        assert cbor.encode(cbor.decode(data)) == data
        written = json.dumps(schema.to_json(value))
        assert schema.from_json(kind, json.loads(written)) == value

    check()


@given(values(Action))
def test_every_action_is_tagged_and_read_back(action: Any) -> None:
    data = schema.encode_as(Action, action)
    assert schema.decode_as(Action, data) == action
    assert schema.to_json(action, Action)["type"] == type(action).__name__


def decodes_canonically_or_is_invalid(kind: Any, data: bytes) -> bool:
    try:
        value = schema.decode_as(kind, data)
    except Invalid as error:
        refused_as = error.code
    else:
        refused_as = None
    if refused_as is not None:
        assert refused_as in {"cbor_malformed", "cbor_not_canonical", "schema_mismatch"}
        return False
    assert schema.encode_as(kind, value) == data
    return True


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.binary(max_size=36)
    | st.text(max_size=8)
    | st.floats(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=20,
)
KINDS = [Transaction, Proposal, Events, Params]


@given(st.sampled_from(KINDS), st.binary(max_size=200) | plain_values.map(cbor.encode))
def test_any_bytes(kind: Any, data: bytes) -> None:
    decodes_canonically_or_is_invalid(kind, data)
    try:
        value = cbor.decode(data)
    except Invalid:
        return
    assert cbor.encode(value) == data


@given(st.sampled_from([Transaction, Proposal]), st.data())
def test_damaged_bytes(kind: Any, data: st.DataObject) -> None:
    """Near-misses of good bytes reach deeper than random ones."""
    good = bytearray(schema.encode(data.draw(values(kind))))
    assert decodes_canonically_or_is_invalid(kind, bytes(good))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(good) - 1))
        change = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if change == "flip":
            good[place] ^= 1 << data.draw(st.integers(0, 7))
        elif change == "insert":
            good[place:place] = data.draw(st.binary(min_size=1, max_size=3))
        elif len(good) > 1:
            del good[place]
    decodes_canonically_or_is_invalid(kind, bytes(good))


@given(st.sampled_from(KINDS[:2]), st.data())
def test_swapped_parts(kind: Any, data: st.DataObject) -> None:
    """A field replaced by an arbitrary value in good CBOR: only the schema can object."""
    plain = cbor.decode(schema.encode(data.draw(values(kind))))
    place = plain
    while True:
        index = data.draw(st.integers(0, len(place) - 1))
        if not isinstance(place[index], list) or not place[index] or data.draw(st.booleans()):
            break
        place = place[index]
    place[index] = data.draw(plain_values)
    decodes_canonically_or_is_invalid(kind, cbor.encode(plain))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=10,
)


@given(st.sampled_from([Transaction, Params]), json_values)
def test_any_json(kind: Any, value: Any) -> None:
    with pytest.raises(Invalid):
        schema.from_json(kind, value)


@given(values(Transaction), st.data())
def test_swapped_parts_of_json(transaction: Any, data: st.DataObject) -> None:
    value = schema.to_json(transaction)
    place = value["body"]["action"] if data.draw(st.booleans()) else value["body"]
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(json_values)
    try:
        read = schema.from_json(Transaction, value)
    except Invalid:
        return
    assert schema.decode(Transaction, schema.encode(read)) == read


@given(values(Transaction))
def test_a_transaction_nobody_signed_is_refused(transaction: Any) -> None:
    key = KeyPair.from_secret(b"\x01" * 32)
    assert transaction.body.sender != key.public_key
    with pytest.raises(Invalid):
        check_transaction(schema.encode(transaction), Hash(transaction.body.chain_id))
