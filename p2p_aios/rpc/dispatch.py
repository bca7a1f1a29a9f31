"""JSON-RPC 2.0: from a message's bytes to its answer's bytes.

Calls of a batch run one after the other, in order, so that transactions of one account may be
pipelined. One deadline and one answer size bound the whole message.
"""

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import trio

from p2p_aios.errors import AiosError, Corrupt, Invalid, Unavailable
from p2p_aios.rpc.faults import error_response
from p2p_aios.rpc.registry import Method, Service, read_parameters

BATCH_MAX: Final = 100
"""Most calls in one message."""
ANSWER_BYTES_MAX: Final = 16 << 20
"""Largest answer to one message; calls beyond it are refused."""
CALLS_PER_TURN: Final = 10
"""Calls of a batch after which all else that the node does has its turn: consensus above all."""
MESSAGE_S_MAX: Final = 30
"""Deadline of one message, all its calls together."""
_NOTIFICATION: Final = object()

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Dispatcher:
    """The methods of one caller."""

    service: Service
    methods: Mapping[str, Method]
    is_authorized: bool
    """Whether the caller may change state."""
    batch_max: int = BATCH_MAX
    charge: Callable[[int], None] = lambda _: None
    """Called before so many calls run; raises Unavailable(`rate_limited`) against them."""

    async def answer(self, message: bytes | str) -> bytes | None:
        """The answer to one message; None where it holds notifications only.

        Raises Corrupt alone; every other fault is part of the answer.
        """
        try:
            # What cannot be read counts as well, and a batch for what it holds.
            self.charge(1)
            request = parse_json(message)
            if not isinstance(request, list):
                return await self._answer_calls([request], trio.current_time() + MESSAGE_S_MAX)
            if not request:
                raise Invalid("request_malformed", "a batch holds at least one call")
            if len(request) > self.batch_max:
                raise Invalid("batch_too_large", f"at most {self.batch_max} calls in a batch")
            self.charge(len(request) - 1)
        except (Invalid, Unavailable) as fault:
            return write_json(error_response(fault))
        answers = await self._answer_calls(request, trio.current_time() + MESSAGE_S_MAX)
        return None if answers is None else b"[" + answers + b"]"

    async def _answer_calls(self, calls: list[Any], deadline: float) -> bytes | None:
        answers: list[bytes] = []
        room = ANSWER_BYTES_MAX
        for index, call in enumerate(calls):
            if index % CALLS_PER_TURN == CALLS_PER_TURN - 1:
                await trio.lowlevel.checkpoint()
            answer = await self._answer_call(call, deadline, room)
            if answer is not None:
                answers.append(answer)
                room -= len(answer)
        return b",".join(answers) if answers else None

    async def _answer_call(self, call: Any, deadline: float, room: int) -> bytes | None:
        id = None
        try:
            name, params, id = _read_call(call)
            result = await self._run(name, params, deadline)
            if id is _NOTIFICATION:
                return None
            answer = write_json({"jsonrpc": "2.0", "result": result, "id": id})
            if len(answer) > room:
                raise Invalid("answer_too_large", "ask for less at once: a page, a smaller batch")
            return answer
        except Corrupt:
            raise
        except AiosError as fault:
            # A call whose id cannot be read is answered all the same, with null (§5).
            return None if id is _NOTIFICATION else write_json(error_response(fault, id))

    async def _run(self, name: str, params: Any, deadline: float) -> Any:
        method = self.methods.get(name)
        if method is None:
            raise Invalid("unknown_method", f"no method is called {name[:64]!r}")
        if method.changes_state and not self.is_authorized:
            raise Invalid("unauthorized", f"{name} needs the node's bearer token")
        parameters: Any = read_parameters(method.parameters, params)
        with trio.move_on_at(deadline):
            return method.write(await self._guarded(method, parameters))
        raise Unavailable("deadline_exceeded", f"no answer within {MESSAGE_S_MAX} s; ask again")

    async def _guarded(self, method: Method, parameters: Any) -> Any:
        try:
            return await method.handle(self.service, parameters)
        except AiosError:
            raise
        except Exception:
            # Boundary: a fault in one handler must not end the node that serves everyone else.
            log.exception("rpc method=%s failed", method.name)
            raise Unavailable("internal_error", "the node failed; its log says why") from None


def parse_json(message: bytes | str) -> Any:
    """Strict JSON: UTF-8, no NaN or Infinity.

    Raises Invalid(`json_malformed`).
    """
    try:
        text = message.decode("utf-8") if isinstance(message, bytes) else message
        return json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise Invalid("json_malformed", f"not JSON: {reason[:200]}") from None


def write_json(value: Any) -> bytes:
    """Compact JSON; what `details` of an error holds beyond JSON becomes text."""
    return json.dumps(value, separators=(",", ":"), default=str).encode("ascii")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _read_call(call: Any) -> tuple[str, Any, Any]:
    if not isinstance(call, dict) or call.get("jsonrpc") != "2.0":
        raise Invalid("request_malformed", 'a call is an object with "jsonrpc": "2.0"')
    name, id = call.get("method"), call.get("id", _NOTIFICATION)
    if not isinstance(name, str):
        raise Invalid("request_malformed", "method is a text")
    if id is not _NOTIFICATION and type(id) not in (str, int, float, type(None)):
        raise Invalid("request_malformed", "id is a text, a number or null")
    return name, call.get("params"), id
