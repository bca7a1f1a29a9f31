"""Bodies of HTTP requests and answers, within bounds of time and memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.dispatch import write_json
from p2p_aios.rpc.faults import error_response

JSON_TYPE: Final = "application/json"
UNSENT_BYTES_MAX: Final = 128 << 20
"""Answers that clients have yet to take, all together."""
_STATUS: Final = {
    "body_too_large": 413,
    "body_too_slow": 408,
    "content_type_wrong": 415,
    "unauthorized": 401,
    "host_wrong": 403,
    "origin_wrong": 403,
    "blob_unavailable": 404,
    "rate_limited": 429,
}


async def read_body(request: Request, bytes_max: int, seconds_max: float) -> bytes:
    """The whole body.

    Raises Invalid(`body_too_large`), Unavailable(`body_too_slow`, `client_gone`).
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and len(announced) < 20 and int(announced) > bytes_max:
        raise _too_large(bytes_max)
    body = bytearray()
    with trio.move_on_after(seconds_max):
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > bytes_max:
                    raise _too_large(bytes_max)
        except ClientDisconnect:
            raise Unavailable("client_gone", "the connection closed inside the body") from None
        return bytes(body)
    raise Unavailable("body_too_slow", f"the body did not arrive within {seconds_max} s")


def refuse(fault: Invalid | Unavailable) -> Response:
    """A JSON-RPC error about the message as a whole, under the HTTP status that fits it."""
    status = _STATUS.get(fault.code, 503 if isinstance(fault, Unavailable) else 400)
    # What is left of the request is not read: the connection cannot serve another.
    return Response(
        write_json(error_response(fault)), status, {"connection": "close"}, media_type=JSON_TYPE
    )


class Unsent:
    """Memory for answers on their way to slow clients."""

    def __init__(self) -> None:
        self._held_bytes = 0

    @contextmanager
    def holding(self, size: int) -> Iterator[None]:
        """While an answer of so many bytes is written; raises Unavailable(`overloaded`)."""
        if self._held_bytes + size > UNSENT_BYTES_MAX:
            raise Unavailable("overloaded", "too many answers wait for their readers; try again")
        self._held_bytes += size
        try:
            yield
        finally:
            self._held_bytes -= size


class Answer(Response):
    """JSON that counts as unsent until it is written."""

    def __init__(self, content: bytes, unsent: Unsent) -> None:
        super().__init__(content, media_type=JSON_TYPE)
        self._unsent = unsent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._unsent.holding(len(self.body)):
                await super().__call__(scope, receive, send)
        except Unavailable as fault:
            await refuse(fault)(scope, receive, send)


def take(limiter: trio.CapacityLimiter) -> None:
    """Raises Unavailable(`overloaded`); the caller releases."""
    try:
        limiter.acquire_nowait()
    except trio.WouldBlock:
        raise Unavailable("overloaded", "too many requests in work; try again soon") from None


def _too_large(bytes_max: int) -> Invalid:
    return Invalid("body_too_large", f"at most {bytes_max} bytes are accepted here")
