"""Errors as JSON-RPC 2.0 tells them (§5.1 of its specification).

Faults of the protocol have the standard numbers. Everything else is -32000 (the caller's fault) or
-32001 (try later). `data` always holds our stable code and its kind, `invalid` or `unavailable`.
"""

from typing import Any, Final

from p2p_aios.errors import AiosError, Unavailable

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
REFUSED: Final = -32000
UNAVAILABLE: Final = -32001

_NUMBERS: Final = {
    "json_malformed": PARSE_ERROR,
    "request_malformed": INVALID_REQUEST,
    "unknown_method": METHOD_NOT_FOUND,
    "params_invalid": INVALID_PARAMS,
    "internal_error": INTERNAL_ERROR,
}
"""Codes of protocol faults; what they number is never a handler's refusal."""


def error_object(fault: AiosError) -> dict[str, Any]:
    """The `error` member of a response."""
    otherwise = UNAVAILABLE if isinstance(fault, Unavailable) else REFUSED
    data = {**fault.details, "code": fault.code, "kind": fault.kind}
    return {"code": _NUMBERS.get(fault.code, otherwise), "message": fault.message, "data": data}


def error_response(fault: AiosError, id: Any = None) -> dict[str, Any]:
    """A whole response that refuses; `id` is null where the request's is unknown."""
    return {"jsonrpc": "2.0", "error": error_object(fault), "id": id}
