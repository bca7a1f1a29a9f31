"""JSON Schema (draft 7) of what `codec.schema` writes and reads, from the same annotations.

    schemas = Schemas("#/components/schemas/")
    schemas.of(AccountView)        # {"$ref": "#/components/schemas/AccountView"}
    schemas.named["AccountView"]   # {"type": "object", "properties": …}

Dataclasses, enumerations and NewTypes get a name of their own, so that a description of many
methods writes each once. Text bounds count UTF-8 bytes, which JSON Schema cannot: what is written
here lets through a little more than the codec does, never less.
"""

import types
import typing
from dataclasses import fields, is_dataclass
from typing import Annotated, Any, Final, NewType, Union, get_args, get_origin

from p2p_aios.codec.limits import Range, Size, Variants
from p2p_aios.errors import invariant
from p2p_aios.units import UINT64_MAX

Schema = dict[str, Any]

_TEXT_FORMS: Final[dict[str, Schema]] = {
    "Amount": {
        "type": "string",
        "pattern": "^[0-9]{1,20}$",
        "description": "AIOS in units of 10^-8, in decimal digits.",
    },
    "Address": {
        "type": "string",
        "pattern": "^aios1[02-9ac-hj-np-z]+$",
        "description": "Account, in bech32m.",
    },
    "Cid": {"type": "string", "pattern": "^b[a-z2-7]+$", "description": "CIDv1 in base32."},
}
"""NewTypes that `codec.scalars` writes in a form of their own."""


class Schemas:
    """Schemas of annotations; those with a name collect in `named`."""

    def __init__(self, prefix: str) -> None:
        """`prefix` is where `named` will lie in the document."""
        self.named: dict[str, Schema] = {}
        self._prefix = prefix
        self._owners: dict[str, Any] = {}

    def of(self, annotation: Any, bounds: tuple[Any, ...] = ()) -> Schema:
        """Raises TypeError for a type that the codec cannot express either."""
        if isinstance(annotation, NewType):
            return self._alias(annotation, bounds)
        origin = get_origin(annotation)
        if origin is Annotated:
            inner, *more = get_args(annotation)
            return self.of(inner, bounds or tuple(more))
        if annotation is bool:
            return {"type": "boolean"}
        if annotation is int:
            return _integer(_first(bounds, Range))
        if annotation in (bytes, str):
            size = _first(bounds, Size)
            invariant(size is not None, "the codec wants a Size, too")
            return _octets(size) if annotation is bytes else _text(size)
        if origin is tuple:
            return self._sequence(get_args(annotation), _first(bounds, Size))
        if origin in (Union, types.UnionType):
            return self._union(get_args(annotation), _first(bounds, Variants))
        if isinstance(annotation, type) and issubclass(annotation, int):
            return self._name(annotation.__name__, annotation)
        if is_dataclass(annotation):
            return self._name(typing.cast(type, annotation).__name__, annotation)
        raise TypeError(f"no JSON schema for {annotation!r}")

    def _alias(self, alias: NewType, bounds: tuple[Any, ...]) -> Schema:
        form = _TEXT_FORMS.get(alias.__name__)
        if bounds and form is None:
            # Narrowed where it is used: the name alone would say less.
            return self.of(alias.__supertype__, bounds)
        return self._name(alias.__name__, alias)

    def _name(self, name: str, owner: Any) -> Schema:
        known = self._owners.setdefault(name, owner)
        invariant(known is owner, f"two types are called {name}")
        if name not in self.named:
            self.named[name] = {}
            self.named[name] = self._define(name, owner)
        return {"$ref": self._prefix + name}

    def _define(self, name: str, owner: Any) -> Schema:
        if isinstance(owner, NewType):
            return _TEXT_FORMS.get(name) or self.of(owner.__supertype__)
        if is_dataclass(owner):
            return self.record(typing.cast(type, owner))
        return {"type": "string", "enum": [member.name.lower() for member in owner]}

    def record(self, kind: type, tag: str | None = None) -> Schema:
        """Of a dataclass, written out; with `tag`, as a union's member, whose `type` it is."""
        hints = typing.get_type_hints(kind, include_extras=True)
        properties = {field.name: self.of(hints[field.name]) for field in fields(kind)}
        if tag is not None:
            properties = {"type": {"const": tag}, **properties}
        described = _summary(kind)
        return {
            **({"description": described} if described else {}),
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    def _sequence(self, args: tuple[Any, ...], size: Size | None) -> Schema:
        if len(args) == 2 and args[1] is Ellipsis:
            invariant(size is not None, "the codec wants a Size, too")
            assert size is not None
            bounds = {"minItems": size.least, "maxItems": size.most}
            return {"type": "array", "items": self.of(args[0]), **bounds}
        parts = [self.of(arg) for arg in args]
        return {"type": "array", "items": parts, "minItems": len(parts), "maxItems": len(parts)}

    def _union(self, members: tuple[Any, ...], variants: Variants | None) -> Schema:
        if variants is None:
            present = [member for member in members if member is not type(None)]
            return {"oneOf": [self.of(present[0]), {"type": "null"}]}
        ordered = [variants.by_tag[tag] for tag in sorted(variants.by_tag)]
        return {"oneOf": [self.record(kind, kind.__name__) for kind in ordered]}


def _first(bounds: tuple[Any, ...], kind: type) -> Any:
    return next((bound for bound in bounds if isinstance(bound, kind)), None)


def _integer(bounds: Range | None) -> Schema:
    least, most = (0, UINT64_MAX) if bounds is None else (bounds.least, bounds.most)
    return {"type": "integer", "minimum": least, "maximum": most}


def _octets(size: Size) -> Schema:
    return {
        "type": "string",
        "pattern": "^([0-9a-f]{2})*$",
        "minLength": 2 * size.least,
        "maxLength": 2 * size.most,
    }


def _text(size: Size) -> Schema:
    # A character takes one to four bytes.
    return {"type": "string", "minLength": -(-size.least // 4), "maxLength": size.most}


def _summary(kind: type) -> str:
    """First paragraph of its docstring; none where dataclass made one up."""
    text = (kind.__doc__ or "").partition("\n\n")[0]
    return "" if text.startswith(f"{kind.__name__}(") else " ".join(text.split())
