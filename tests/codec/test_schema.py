"""The typed codec: shapes, bounds and what a wrong value is told."""

from dataclasses import dataclass, make_dataclass
from enum import IntEnum
from typing import Annotated, Any

import pytest

from p2p_aios.codec import cbor, schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.codec.limits import Range, Size, Variants
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import Invalid
from p2p_aios.units import Address, Amount, Cid


class Colour(IntEnum):
    RED = 1
    BLUE = 4


@dataclass(frozen=True, slots=True)
class Dot:
    x: Annotated[int, Range(-5, 5)]


@dataclass(frozen=True, slots=True)
class Line:
    start: Dot
    end: Dot


Shape = Annotated[Dot | Line, Variants({1: Dot, 2: Line})]


@dataclass(frozen=True, slots=True)
class Picture:
    owner: Address
    price: Amount
    name: Annotated[str, Size(1, 8)]
    colour: Colour
    framed: bool
    source: Cid | None
    shapes: Annotated[tuple[Shape, ...], Size(0, 3)]
    corner: tuple[Annotated[int, Range(0, 9)], Annotated[bytes, Size(0, 2)]]


PICTURE = Picture(
    Address(bytes(20)), Amount(7), "ü", Colour.BLUE, True, None, (Dot(-5), Line(Dot(1), Dot(2))),
    (3, b"\x01"),
)  # fmt: skip
PLAIN: list[Any] = [bytes(20), 7, "ü", 4, True, None, [[1, -5], [2, [1], [2]]], [3, b"\x01"]]
JSON: dict[str, Any] = {
    "owner": format_address(Address(bytes(20))),
    "price": "7",
    "name": "ü",
    "colour": "blue",
    "framed": True,
    "source": None,
    "shapes": [
        {"type": "Dot", "x": -5},
        {"type": "Line", "start": {"x": 1}, "end": {"x": 2}},
    ],
    "corner": [3, "01"],
}


def test_a_dataclass_is_the_array_of_its_fields() -> None:
    assert schema.encode(PICTURE) == cbor.encode(PLAIN)
    assert schema.decode(Picture, cbor.encode(PLAIN)) == PICTURE


def test_json_names_fields_and_spells_scalars() -> None:
    assert schema.to_json(PICTURE) == JSON
    assert schema.from_json(Picture, JSON) == PICTURE


def plain_with(index: int, value: Any) -> list[Any]:
    return [value if place == index else item for place, item in enumerate(PLAIN)]


@pytest.mark.parametrize(
    ("plain", "place"),
    [
        (plain_with(0, bytes(19)), "Picture.owner"),
        (plain_with(0, "x" * 20), "Picture.owner"),
        (plain_with(1, -1), "Picture.price"),
        (plain_with(1, True), "Picture.price"),
        (plain_with(2, ""), "Picture.name"),
        (plain_with(2, "üüüüü"), "Picture.name"),
        (plain_with(2, b"name"), "Picture.name"),
        (plain_with(3, 2), "Picture.colour"),
        (plain_with(3, True), "Picture.colour"),
        (plain_with(4, 1), "Picture.framed"),
        (plain_with(5, b""), "Picture.source"),
        (plain_with(6, [[1, 0]] * 4), "Picture.shapes"),
        (plain_with(6, [[3, 0]]), "Picture.shapes"),
        (plain_with(6, [[True, 0]]), "Picture.shapes"),
        (plain_with(6, [[[1], 0]]), "Picture.shapes"),
        (plain_with(6, [[]]), "Picture.shapes"),
        (plain_with(6, [[1, 6]]), "Picture.shapes: Dot.x"),
        (plain_with(6, [[1]]), "Picture.shapes"),
        (plain_with(7, [3]), "Picture.corner"),
        (plain_with(7, b"\x03"), "Picture.corner"),
        (PLAIN[:-1], "Picture as an array of 8"),
        ([*PLAIN, 0], "Picture as an array of 8"),
        (None, "Picture as an array of 8"),
    ],
)
def test_wrong_values_are_named_by_place(plain: Any, place: str) -> None:
    with pytest.raises(Invalid) as caught:
        schema.decode(Picture, cbor.encode(plain))
    assert caught.value.code == "schema_mismatch"
    assert place in caught.value.message


def test_right_values_in_a_second_encoding_are_refused() -> None:
    data = schema.encode(PICTURE)
    assert data[-1:] == b"\x01"
    for other in (data + b"\x00", data[:-2] + b"\x58\x01\x01"):
        with pytest.raises(Invalid) as caught:
            schema.decode(Picture, other)
        assert caught.value.code == "cbor_not_canonical"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", "aios1qqqq"),
        ("owner", 5),
        ("price", 7),
        ("price", "-7"),
        ("price", "7.0"),
        ("price", "٣"),
        ("price", str(2**64)),
        ("price", "9" * 10_000),
        ("name", "\ud800"),
        ("colour", "RED"),
        ("colour", 4),
        ("colour", ["blue"]),
        ("framed", "true"),
        ("source", "not a cid"),
        ("shapes", {"type": "Dot"}),
        ("shapes", [{"type": ["Dot"], "x": 1}]),
        ("shapes", [{"type": "Circle", "x": 1}]),
        ("shapes", [{"x": 1}]),
        ("shapes", [{"type": "Dot", "x": 1, "y": 2}]),
        ("shapes", [{"type": "Dot", "x": 10**5000}]),
        ("corner", [3, "0 1"]),
        ("corner", [3, "0A"]),
        ("corner", [3, 1]),
        ("corner", [3, "zz"]),
    ],
)
def test_wrong_json_is_invalid_and_nothing_else(field: str, value: Any) -> None:
    with pytest.raises(Invalid) as caught:
        schema.from_json(Picture, JSON | {field: value})
    assert caught.value.code in {"schema_mismatch", "address_malformed", "cid_malformed"}
    assert f"Picture.{field}" in caught.value.message


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({}, "Picture lacks owner, price, name"),
        (
            {k: v for k, v in JSON.items() if k not in ("name", "price")},
            "Picture lacks price, name",
        ),
        (JSON | {"more": 1}, "Picture has no 'more'"),
        (JSON | {"m" * 9999: 1}, f"Picture has no '{'m' * 64}'"),
        (JSON | {"shapes": [{"type": "Dot", "x": 1, "y": 2}]}, "Picture.shapes: Dot has no 'y'"),
        ([], "expected Picture as an object with owner"),
        (None, "expected Picture as an object with owner"),
    ],
)
def test_missing_and_unknown_fields_are_named(wrong: Any, told: str) -> None:
    with pytest.raises(Invalid) as caught:
        schema.from_json(Picture, wrong)
    assert caught.value.code == "schema_mismatch"
    assert caught.value.message.startswith(told)


def test_values_that_are_no_dataclass() -> None:
    annotation = Annotated[tuple[Shape, ...], Size(0, 3)]
    data = schema.encode_as(annotation, (Dot(1),))
    assert data == cbor.encode([[1, 1]])
    assert schema.decode_as(annotation, data) == (Dot(1),)


def test_json_of_an_optional_cid() -> None:
    picture = Picture(*[getattr(PICTURE, n) if n != "source" else cid_of(b"x") for n in JSON])
    shown = schema.to_json(picture)
    assert shown["source"].startswith("bafkrei")
    assert schema.from_json(Picture, shown) == picture


@pytest.mark.parametrize(
    "annotation",
    [
        bytes,
        str,
        float,
        tuple[int, ...],
        Dot | Line,
        Annotated[Dot | Line, Variants({1: Dot})],
        dict[int, int],
    ],
)
def test_types_without_bounds_are_refused_when_compiled(annotation: Any) -> None:
    with pytest.raises(TypeError):
        schema.converter(annotation)


def test_a_variant_may_not_hide_its_own_name() -> None:
    hidden = make_dataclass("Hidden", [("type", int)], frozen=True, slots=True)
    with pytest.raises(TypeError, match="type"):
        schema.converter(Annotated[Dot | hidden, Variants({1: Dot, 2: hidden})])
