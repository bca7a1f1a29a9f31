"""What a method is: a name, the types of its parameters and result, and a handler.

    @method("account.get", GetAccount, AccountView)
    async def get_account(service: Service, asked: GetAccount) -> AccountView:
        \"\"\"Balance and nonces of an account.\"\"\"
        return await service.backend.account(asked.address)

Parameters are a frozen dataclass, read from JSON by its schema; a field with a default may be left
out. So a description of the whole interface can be derived from the registry alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final, TypeVar

from p2p_aios.codec import schema
from p2p_aios.errors import Invalid
from p2p_aios.rpc.backend import Backend
from p2p_aios.rpc.feed import Feed

P = TypeVar("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Service:
    """What handlers work with."""

    backend: Backend
    feed: Feed


Handler = Callable[[Service, Any], Awaitable[Any]]
Prepare = Callable[[Service, Sequence[Any]], Awaitable[None]]
"""Does beforehand, for the parameters of several calls at once, what is cheaper so."""
JSON: Final = object()
"""As a method's result: JSON already, of a shape that no annotation describes."""


@dataclass(frozen=True, slots=True)
class Method:
    name: str
    parameters: type
    result: Any
    """Annotation that `schema.converter` takes, or JSON."""
    handle: Handler
    changes_state: bool
    """Whether a bearer token, where the node has one, is required."""
    summary: str
    is_on_socket: bool = False
    """Whether it needs a WebSocket."""
    prepare: Prepare | None = None
    """Runs once for all calls in a message of the methods that share it; whatever becomes of it
    changes no answer."""

    def write(self, result: Any) -> Any:
        """What a handler returned, as JSON."""
        return result if self.result is JSON else schema.to_json(result, self.result)


@dataclass(frozen=True, slots=True)
class NoParameters:
    pass


def method(
    name: str,
    parameters: type[P],
    result: Any,
    *,
    changes_state: bool = False,
    is_on_socket: bool = False,
    prepare: Callable[[Service, Sequence[P]], Awaitable[None]] | None = None,
) -> Callable[[Callable[[Service, P], Awaitable[Any]]], Method]:
    """Make a handler a method; its docstring's first line is the summary."""

    def build(handle: Callable[[Service, P], Awaitable[Any]]) -> Method:
        summary = (handle.__doc__ or "").partition("\n")[0]
        return Method(
            name, parameters, result, handle, changes_state, summary, is_on_socket, prepare
        )

    return build


def read_parameters(kind: type[P], value: Any) -> P:
    """Parameters by name (an object), by position (an array), or none at all.

    Raises Invalid: `params_invalid`, or the code of a malformed address, CID or amount.
    """
    try:
        return schema.from_json(kind, _with_defaults(kind, value))
    except Invalid as error:
        if error.code == "schema_mismatch":
            raise Invalid("params_invalid", error.message) from None
        raise
    except UnicodeEncodeError:
        raise Invalid("params_invalid", "text holds half a surrogate pair") from None


def _with_defaults(kind: type, value: Any) -> dict[str, Any]:
    known = {field.name: field.default for field in fields(kind)}
    given = {} if value is None else value
    if isinstance(given, list):
        if len(given) > len(known):
            raise Invalid("params_invalid", f"at most {len(known)} parameters: {_signature(known)}")
        given = dict(zip(known, given, strict=False))
    if not isinstance(given, dict):
        raise Invalid("params_invalid", "params are an object, an array, or left out")
    unknown = [str(name)[:64] for name in given if name not in known]
    missing = [name for name in known if name not in given and known[name] is MISSING]
    if unknown or missing:
        fault = f"unknown {unknown[0]!r}" if unknown else f"missing {missing[0]!r}"
        raise Invalid("params_invalid", f"{fault}; the parameters are {_signature(known)}")
    defaults = {name: list(d) if isinstance(d, tuple) else d for name, d in known.items()}
    return {**defaults, **given}


def _signature(known: dict[str, Any]) -> str:
    shown = [name if default is MISSING else f"{name}?" for name, default in known.items()]
    return ", ".join(shown) or "none"
