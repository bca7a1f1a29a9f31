"""JSON-RPC 2.0: from a message's bytes to its answer's bytes.

A message is read whole, then its calls run one after the other, in order, so that transactions of
one account may be pipelined. One deadline and one answer size bound the whole message.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final, NoReturn

import trio

from p2p_aios.errors import AiosError, Corrupt, Invalid, Unavailable
from p2p_aios.rpc.faults import error_response
from p2p_aios.rpc.meter import OTHER, SUCCESS, CallMeter
from p2p_aios.rpc.registry import Method, Prepare, Service, read_parameters

BATCH_MAX: Final = 100
"""Most calls in one message."""
ANSWER_BYTES_MAX: Final = 16 << 20
"""Largest answer to one message; calls beyond it are refused."""
TURN_S_MAX: Final = 0.002
"""How long calls of a batch run before all else that the node does has its turn: consensus above
all."""
BYTES_PER_CALL: Final = 4096
"""How much of messages and answers costs as much as a call: the largest ones, tenths of a second
of the node's time."""
RATE_LIMITED_S: Final = 0.5
"""Who asks too much learns it only then: to refuse a flood at once would cost as much as to serve
it."""
MESSAGE_S_MAX: Final = 30
"""Deadline of one message, all its calls together."""
_NOTIFICATION: Final = object()
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"), default=str)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a message, as it was read."""

    id: Any
    method: Method | None
    """None where none of that name exists, or the call is none."""
    asked: Any
    """Its parameters, or the Invalid that refuses it."""


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
    charge_afterwards: Callable[[int], None] = lambda _: None
    """Called with what a large message and its answer cost beyond that, in calls."""
    meter: CallMeter = field(default_factory=CallMeter)

    async def answer(self, message: bytes | str) -> bytes | None:
        """The answer to one message; None where it holds notifications only.

        Raises Corrupt alone; every other fault is part of the answer.
        """
        answer = await self._answer(message)
        self.charge_afterwards((len(message) + len(answer or b"")) // BYTES_PER_CALL)
        return answer

    async def _answer(self, message: bytes | str) -> bytes | None:
        try:
            # What cannot be read counts as well, and a batch for what it holds.
            self.charge(1)
            request = parse_json(message)
            if not isinstance(request, list):
                return await self._answer_calls([request])
            if not request:
                raise Invalid("request_malformed", "a batch holds at least one call")
            if len(request) > self.batch_max:
                raise Invalid("batch_too_large", f"at most {self.batch_max} calls in a batch")
            self.charge(len(request) - 1)
        except (Invalid, Unavailable) as fault:
            self.meter.note(OTHER, fault.code)
            if fault.code == "rate_limited":
                await trio.sleep(RATE_LIMITED_S)
            return write_json(error_response(fault))
        answers = await self._answer_calls(request)
        return None if answers is None else b"[" + answers + b"]"

    async def _answer_calls(self, requests: list[Any]) -> bytes | None:
        deadline = trio.current_time() + MESSAGE_S_MAX
        turn = _Turn()
        calls: list[Call] = []
        for request in requests:
            calls.append(self._read(request))
            await turn.pass_on()
        answers: list[bytes | None] = []
        room = ANSWER_BYTES_MAX
        with trio.move_on_at(deadline):
            await self._prepare(calls)
            for call in calls:
                answer = await self._answer_call(call, room)
                answers.append(answer)
                room -= len(answer or b"")
                await turn.pass_on()
        late = Unavailable("deadline_exceeded", f"no answer within {MESSAGE_S_MAX} s; ask again")
        answers += [self._refuse(call, late) for call in calls[len(answers) :]]
        return b",".join(filter(None, answers)) or None

    def _read(self, request: Any) -> Call:
        id, method = None, None
        try:
            name, params, id = _read_request(request)
            method = self.methods.get(name)
            if method is None:
                raise Invalid("unknown_method", f"no method is called {name[:64]!r}")
            if method.changes_state and not self.is_authorized:
                raise Invalid("unauthorized", f"{name} needs the node's bearer token")
            return Call(id, method, read_parameters(method.parameters, params))
        except Invalid as fault:
            return Call(id, method, fault)

    async def _prepare(self, calls: Sequence[Call]) -> None:
        together: dict[Prepare, list[Any]] = {}
        for call in calls:
            if call.method and call.method.prepare and not isinstance(call.asked, Invalid):
                together.setdefault(call.method.prepare, []).append(call.asked)
        for prepare, asked in together.items():
            if len(asked) == 1:
                continue
            try:
                await prepare(self.service, asked)
            except Corrupt:
                raise
            except Exception:
                # Boundary: each call still does by itself whatever was not done for all of them.
                log.exception("rpc preparation of %d calls failed", len(asked))

    async def _answer_call(self, call: Call, room: int) -> bytes | None:
        if call.method is None or isinstance(call.asked, Invalid):
            return self._refuse(call, call.asked)
        begun_s = time.perf_counter()
        try:
            result = await self._run(call.method, call.asked)
            answer = _write_result(call.id, result)
            if len(answer) > room:
                raise Invalid("answer_too_large", "ask for less at once: a page, a smaller batch")
        except Corrupt:
            raise
        except AiosError as fault:
            return self._refuse(call, fault, time.perf_counter() - begun_s)
        self.meter.note(call.method.name, SUCCESS, time.perf_counter() - begun_s)
        return answer or None

    def _refuse(self, call: Call, fault: AiosError, seconds: float = 0.0) -> bytes | None:
        self.meter.note(OTHER if call.method is None else call.method.name, fault.code, seconds)
        # A call whose id cannot be read is answered all the same, with null (§5).
        return None if call.id is _NOTIFICATION else write_json(error_response(fault, call.id))

    async def _run(self, method: Method, parameters: Any) -> Any:
        try:
            return method.write(await method.handle(self.service, parameters))
        except AiosError:
            raise
        except Exception:
            # Boundary: a fault in one handler must not end the node that serves everyone else.
            log.exception("rpc method=%s failed", method.name)
            raise Unavailable("internal_error", "the node failed; its log says why") from None


class _Turn:
    """A stretch of work that all else need not wait for."""

    def __init__(self) -> None:
        self._begun_s = time.perf_counter()

    async def pass_on(self) -> None:
        """Let everybody else run, if it has been long."""
        if time.perf_counter() - self._begun_s > TURN_S_MAX:
            await trio.lowlevel.checkpoint()
            self._begun_s = time.perf_counter()


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
    return _ENCODER.encode(value).encode("ascii")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _write_result(id: Any, result: Any) -> bytes:
    """Empty for a notification."""
    if id is _NOTIFICATION:
        return b""
    return write_json({"jsonrpc": "2.0", "result": result, "id": id})


def _read_request(call: Any) -> tuple[str, Any, Any]:
    if not isinstance(call, dict) or call.get("jsonrpc") != "2.0":
        raise Invalid("request_malformed", 'a call is an object with "jsonrpc": "2.0"')
    name, id = call.get("method"), call.get("id", _NOTIFICATION)
    if not isinstance(name, str):
        raise Invalid("request_malformed", "method is a text")
    if id is not _NOTIFICATION and type(id) not in (str, int, float, type(None)):
        raise Invalid("request_malformed", "id is a text, a number or null")
    if isinstance(id, float) and not isfinite(id):  # 1e999 is JSON; what it becomes is not
        raise Invalid("request_malformed", "id is a number too large")
    return name, call.get("params"), id
