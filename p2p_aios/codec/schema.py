"""Frozen dataclasses to canonical CBOR arrays and back, and to JSON and back.

A dataclass becomes the array of its fields in order; a union of dataclasses, annotated with
`Variants`, becomes [tag, *fields]. Bounds come from the annotations (`Size`, `Range`), so whatever
decodes is in range. Converters are compiled once per type from its annotations.

    @dataclass(frozen=True, slots=True)
    class Transfer:
        recipient: Address
        amount: Amount

    encode(Transfer(recipient, amount))      # b"\\x82T..."
    decode(Transfer, data)                   # Transfer, or Invalid with a code
"""

import types
import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, Final, NamedTuple, NewType, TypeVar, Union, get_args, get_origin

from p2p_aios.codec import cbor, scalars
from p2p_aios.codec.limits import Range, Size, Variants
from p2p_aios.errors import Invalid

T = TypeVar("T")
Convert = Callable[[Any], Any]

NAME_SHOWN_MAX: Final = 64
"""Characters of an unknown name that a refusal repeats."""
_UINT64: Final = Range(0, 2**64 - 1)


class Converter(NamedTuple):
    """How one annotated type travels."""

    to_plain: Convert
    """Typed value to CBOR-able value; trusts its input, which our own code built."""
    from_plain: Convert
    """CBOR value to typed value; raises Invalid(`schema_mismatch`)."""
    to_json: Convert
    """Typed value to JSON-able value."""
    from_json: Convert
    """JSON value to CBOR-able value; raises Invalid. `from_plain` then checks it."""


def encode(value: Any) -> bytes:
    """Canonical bytes of a dataclass instance."""
    return cbor.encode(converter(type(value)).to_plain(value))


def decode(kind: type[T], data: bytes, bytes_max: int = cbor.MESSAGE_BYTES_MAX) -> T:
    """The `kind` whose canonical encoding is exactly `data`.

    Raises Invalid: `too_large`, `cbor_malformed`, `schema_mismatch`, `cbor_not_canonical`.
    """
    convert = converter(kind)
    value: T = convert.from_plain(cbor.decode_lenient(data, bytes_max))
    cbor.require_canonical(data, cbor.encode(convert.to_plain(value)))
    return value


def encode_as(annotation: Any, value: Any) -> bytes:
    """Canonical bytes of a value whose type is not a dataclass (a union, a tuple)."""
    return cbor.encode(converter(annotation).to_plain(value))


def decode_as(annotation: Any, data: bytes, bytes_max: int = cbor.MESSAGE_BYTES_MAX) -> Any:
    """Inverse of `encode_as`; raises as `decode` does."""
    convert = converter(annotation)
    value = convert.from_plain(cbor.decode_lenient(data, bytes_max))
    cbor.require_canonical(data, cbor.encode(convert.to_plain(value)))
    return value


def to_json(value: Any, annotation: Any = None) -> Any:
    """JSON view: objects by field name, addresses and CIDs as text, other bytes as hex, amounts as
    decimal strings of units (they exceed what JavaScript counts exactly)."""
    return converter(annotation or type(value)).to_json(value)


def from_json(kind: type[T], value: Any) -> T:
    """Inverse of `to_json`; raises Invalid(`schema_mismatch`) naming the field."""
    convert = converter(kind)
    result: T = convert.from_plain(convert.from_json(value))
    return result


def converter(annotation: Any) -> Converter:
    """The compiled converter of a type; raises TypeError for one the schema cannot express."""
    return _compile(annotation)


@cache
def _compile(annotation: Any) -> Converter:
    bounds: list[Any] = []
    alias: str | None = None
    while True:
        if isinstance(annotation, NewType):
            alias = alias or annotation.__name__
            annotation = annotation.__supertype__
        elif get_origin(annotation) is Annotated:
            annotation, *more = get_args(annotation)
            bounds = bounds or more
        else:
            break
    size = next((b for b in bounds if isinstance(b, Size)), None)
    if annotation is int:
        return _integer(next((b for b in bounds if isinstance(b, Range)), _UINT64), alias)
    if annotation is bool:
        return Converter(_same, _typed(bool), _same, _typed(bool))
    if annotation in (bytes, str):
        if size is None:
            raise TypeError(f"{alias or annotation} needs a Size")
        return _octets(size, alias) if annotation is bytes else _text(size)
    if isinstance(annotation, type) and issubclass(annotation, int):
        return _enumeration(annotation)
    if is_dataclass(annotation):
        return _record(typing.cast(type, annotation))
    origin = get_origin(annotation)
    if origin is tuple:
        return _sequence(get_args(annotation), size)
    if origin in (Union, types.UnionType):
        variants = next((b for b in bounds if isinstance(b, Variants)), None)
        return _union(annotation, variants)
    raise TypeError(f"no schema for {annotation!r}")


def _same(value: Any) -> Any:
    return value


def _mismatch(expected: str, value: Any) -> Invalid:
    # A long integer is named, not printed: Python refuses to write more than 4300 digits.
    is_short = isinstance(value, int) and value.bit_length() <= 64
    found = str(value) if is_short else type(value).__name__
    return Invalid("schema_mismatch", f"expected {expected}, found {found}")


def _typed(kind: type) -> Convert:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise _mismatch(kind.__name__, value)
        return value

    return check


def _integer(bounds: Range, alias: str | None) -> Converter:
    least, most = bounds.least, bounds.most

    def check(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:
            raise _mismatch(f"an integer in {least}..{most}", value)
        return value

    form = scalars.JSON_FORMS.get(alias or "")
    return Converter(_same, check, *(form or (_same, _same)))


def _octets(size: Size, alias: str | None) -> Converter:
    least, most = size.least, size.most

    def check(value: Any) -> bytes:
        if type(value) is not bytes or not least <= len(value) <= most:
            raise _mismatch(f"{least}..{most} bytes", value)
        return value

    form = scalars.JSON_FORMS.get(alias or "", (bytes.hex, scalars.bytes_from_hex))
    return Converter(_same, check, *form)


def _text(size: Size) -> Converter:
    def check(value: Any) -> str:
        if type(value) is not str or not size.least <= _utf8_length(value) <= size.most:
            raise _mismatch(f"text of {size.least}..{size.most} bytes", value)
        return value

    return Converter(_same, check, _same, _same)


def _utf8_length(text: str) -> int:
    """Length in UTF-8; -1 for text that has none (JSON can carry half a surrogate pair)."""
    try:
        return len(text.encode())
    except UnicodeEncodeError:
        return -1


def _enumeration(kind: type) -> Converter:
    members = {int(member): member for member in kind}  # type: ignore[attr-defined]
    names = {member.name.lower(): int(member) for member in members.values()}

    def from_plain(value: Any) -> Any:
        if type(value) is not int or value not in members:
            raise _mismatch(f"one of {sorted(members)} ({kind.__name__})", value)
        return members[value]

    def from_json(value: Any) -> int:
        if not isinstance(value, str) or value not in names:
            raise _mismatch(f"one of {sorted(names)}", value)
        return names[value]

    return Converter(int, from_plain, lambda member: member.name.lower(), from_json)


def _record(kind: type) -> Converter:
    hints = typing.get_type_hints(kind, include_extras=True)
    names = [f.name for f in fields(kind)]
    parts = [converter(hints[name]) for name in names]
    encoders = [(name, part.to_plain) for name, part in zip(names, parts, strict=True)]
    decoders = [part.from_plain for part in parts]

    def to_plain(value: Any) -> list[Any]:
        return [convert(getattr(value, name)) for name, convert in encoders]

    def from_plain(value: Any) -> Any:
        if type(value) is not list or len(value) != len(names):
            raise _mismatch(f"{kind.__name__} as an array of {len(names)}", value)
        decoded = []
        for index, (convert, item) in enumerate(zip(decoders, value, strict=True)):
            try:
                decoded.append(convert(item))
            except Invalid as error:
                raise _within(f"{kind.__name__}.{names[index]}", error) from None
        return kind(*decoded)

    def to_json(value: Any) -> dict[str, Any]:
        return {n: p.to_json(getattr(value, n)) for n, p in zip(names, parts, strict=True)}

    def from_json(value: Any) -> list[Any]:
        if not isinstance(value, dict):
            raise _mismatch(f"{kind.__name__} as an object with {', '.join(names)}", value)
        if missing := [name for name in names if name not in value]:
            raise Invalid("schema_mismatch", f"{kind.__name__} lacks {', '.join(missing)}")
        if len(value) > len(names):
            unknown = next(str(name)[:NAME_SHOWN_MAX] for name in value if name not in names)
            raise Invalid("schema_mismatch", f"{kind.__name__} has no {unknown!r}")
        converted = []
        for name, part in zip(names, parts, strict=True):
            try:
                converted.append(part.from_json(value[name]))
            except Invalid as error:
                raise _within(f"{kind.__name__}.{name}", error) from None
        return converted

    return Converter(to_plain, from_plain, to_json, from_json)


def _within(place: str, error: Invalid) -> Invalid:
    return Invalid(error.code, f"{place}: {error.message}")


def _sequence(args: tuple[Any, ...], size: Size | None) -> Converter:
    if len(args) == 2 and args[1] is Ellipsis:
        if size is None:
            raise TypeError(f"tuple[{args[0]}, ...] needs a Size")
        return _list(converter(args[0]), size)
    parts = [converter(arg) for arg in args]

    def each(method: int) -> Convert:
        converts = [part[method] for part in parts]

        def apply(value: Any) -> list[Any]:
            if not isinstance(value, list | tuple) or len(value) != len(converts):
                raise _mismatch(f"an array of {len(converts)}", value)
            return [convert(item) for convert, item in zip(converts, value, strict=True)]

        return apply

    from_plain = each(1)
    return Converter(each(0), lambda value: tuple(from_plain(value)), each(2), each(3))


def _list(part: Converter, size: Size) -> Converter:
    least, most = size.least, size.most

    def check(value: Any) -> list[Any]:
        if type(value) is not list or not least <= len(value) <= most:
            raise _mismatch(f"an array of {least}..{most}", value)
        return value

    return Converter(
        lambda value: [part.to_plain(item) for item in value],
        lambda value: tuple([part.from_plain(item) for item in check(value)]),
        lambda value: [part.to_json(item) for item in value],
        lambda value: [part.from_json(item) for item in check(value)],
    )


def _union(annotation: Any, variants: Variants | None) -> Converter:
    members = get_args(annotation)
    if variants is None:
        present = [member for member in members if member is not type(None)]
        if len(present) != 1 or len(members) != 2:
            raise TypeError(f"{annotation} needs Variants")
        return _optional(converter(present[0]))
    if set(variants.by_tag.values()) != set(members):
        raise TypeError(f"Variants of {annotation} do not cover its members")
    if any(field.name == "type" for member in members for field in fields(member)):
        raise TypeError(f"a field called 'type' would hide which member of {annotation} it is")
    by_tag = {tag: converter(kind) for tag, kind in variants.by_tag.items()}
    tags = {kind: tag for tag, kind in variants.by_tag.items()}
    by_name = {kind.__name__: tag for kind, tag in tags.items()}

    def to_plain(value: Any) -> list[Any]:
        tag = tags[type(value)]
        return [tag, *by_tag[tag].to_plain(value)]

    def from_plain(value: Any) -> Any:
        if type(value) is not list or not value or type(value[0]) is not int:
            raise _mismatch("an array that begins with an integer tag", value)
        if value[0] not in by_tag:
            raise _mismatch(f"the tag of one of {', '.join(by_name)}", value[0])
        return by_tag[value[0]].from_plain(value[1:])

    def to_json(value: Any) -> dict[str, Any]:
        return {"type": type(value).__name__, **by_tag[tags[type(value)]].to_json(value)}

    def from_json(value: Any) -> list[Any]:
        name = value.get("type") if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in by_name:
            raise _mismatch(f"an object whose type is one of {', '.join(by_name)}", value)
        tag = by_name[name]
        rest = {name: item for name, item in value.items() if name != "type"}
        return [tag, *by_tag[tag].from_json(rest)]

    return Converter(to_plain, from_plain, to_json, from_json)


def _optional(part: Converter) -> Converter:
    def through(convert: Convert) -> Convert:
        return lambda value: None if value is None else convert(value)

    return Converter(*(through(convert) for convert in part))
