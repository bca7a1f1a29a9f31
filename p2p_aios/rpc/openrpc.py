"""The interface described for programs: an OpenRPC 1.3 document, made from the registry alone.

Nothing in it is written by hand, so it cannot say other than what the node does. Source: OpenRPC
Specification 1.3.2 (spec.open-rpc.org).
"""

import typing
from collections.abc import Iterable
from dataclasses import MISSING, fields
from typing import Any, Final

import p2p_aios
from p2p_aios.rpc.faults import REFUSED, UNAVAILABLE
from p2p_aios.rpc.jsonschema import Schemas
from p2p_aios.rpc.registry import JSON, Method

VERSION: Final = "1.3.2"
_SCHEMAS_AT: Final = "#/components/schemas/"
_ERRORS_AT: Final = "#/components/errors/"
_ERRORS: Final = {
    "Refused": {
        "code": REFUSED,
        "message": "The caller's fault; data.code is stable and data.kind is 'invalid'.",
    },
    "Unavailable": {
        "code": UNAVAILABLE,
        "message": "Try later, or elsewhere; data.code is stable and data.kind is 'unavailable'.",
    },
}


def describe_interface(methods: Iterable[Method]) -> dict[str, Any]:
    """The whole document, methods by name."""
    schemas = Schemas(_SCHEMAS_AT)
    described = [_describe(method, schemas) for method in methods]
    return {
        "openrpc": VERSION,
        "info": {
            "title": "AIOS node",
            "version": p2p_aios.__version__,
            "description": "JSON-RPC 2.0 at POST / and, with subscriptions, over WebSocket at /ws.",
        },
        "methods": sorted(described, key=lambda method: str(method["name"])),
        "components": {"schemas": dict(sorted(schemas.named.items())), "errors": _ERRORS},
    }


def _describe(method: Method, schemas: Schemas) -> dict[str, Any]:
    result = {} if method.result is JSON else schemas.of(method.result)
    return {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "either",
        "params": _parameters(method.parameters, schemas),
        "result": {"name": "result", "schema": result},
        "errors": [{"$ref": _ERRORS_AT + name} for name in _ERRORS],
        "x-changes-state": method.changes_state,
        "x-websocket-only": method.is_on_socket,
    }


def _parameters(kind: type, schemas: Schemas) -> list[dict[str, Any]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    described: list[dict[str, Any]] = []
    for field in fields(kind):
        is_required = field.default is MISSING
        value = schemas.of(hints[field.name])
        if not is_required:
            # allOf, for draft 7 ignores whatever stands beside a $ref.
            default = list(field.default) if isinstance(field.default, tuple) else field.default
            value = {"allOf": [value], "default": default}
        described.append({"name": field.name, "required": is_required, "schema": value})
    return described
