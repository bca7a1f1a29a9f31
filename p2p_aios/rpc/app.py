"""The RPC as a web application: JSON-RPC at `POST /`, blobs at `/blob`, WebSocket at `/ws`.

A page of another site must not reach a node through its owner's browser. So JSON-RPC takes
`application/json` only (which browsers do not send across sites unasked), a foreign `Origin` is
refused, and a node that listens on the loopback interface answers only to loopback names.
"""

import hmac
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Annotated, Any, Final

import trio
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from p2p_aios.codec import schema
from p2p_aios.codec.cid import format_cid, parse_cid
from p2p_aios.codec.limits import Range, Size
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.dispatch import BATCH_MAX, Dispatcher, write_json
from p2p_aios.rpc.faults import error_response
from p2p_aios.rpc.methods import METHODS
from p2p_aios.rpc.methods.blob import find_blob
from p2p_aios.rpc.rates import Rates
from p2p_aios.rpc.registry import Service
from p2p_aios.rpc.websocket import Session
from p2p_aios.types.views import BlobView
from p2p_aios.units import Cid

BODY_S_MAX: Final = 10
"""Deadline for a request body to arrive."""
BLOB_S_MAX: Final = 120
"""Deadline for a blob to arrive, or to be found."""
BLOB_TRANSFERS_MAX: Final = 4
"""Blobs in memory at once."""
REQUESTS_MAX: Final = 256
"""JSON-RPC messages in work at once; most of them may be waiting for a block."""
BLOB_PIECE_BYTES: Final = 1 << 18
_JSON: Final = "application/json"


@dataclass(frozen=True, slots=True)
class RpcConfig:
    host: Annotated[str, Size(1, 255)] = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8645
    """0 picks a free one."""
    token: Annotated[str, Size(16, 256)] | None = None
    """Bearer token for methods that change state; None leaves them open."""
    body_bytes_max: Annotated[int, Range(1024, 1 << 30)] = 1 << 20
    blob_bytes_max: Annotated[int, Range(1024, 1 << 30)] = 64 << 20
    batch_max: Annotated[int, Range(1, 10_000)] = BATCH_MAX
    connections_max: Annotated[int, Range(1, 1 << 16)] = 256
    calls_per_s: Annotated[int, Range(1, 10**6)] = 200
    """Of one client address without the token, over time."""
    calls_burst: Annotated[int, Range(1, 10**6)] = 1000
    """What it may ask at once."""
    limits_loopback: bool = False
    """Whether programs of this machine are held to that as well."""


class RpcApp:
    """Handlers of the routes; `make_app` wires them."""

    def __init__(self, service: Service, config: RpcConfig) -> None:
        self._service = service
        self._config = config
        self._requests = trio.CapacityLimiter(REQUESTS_MAX)
        self._transfers = trio.CapacityLimiter(BLOB_TRANSFERS_MAX)
        self._rates = Rates(config.calls_per_s, config.calls_burst)

    async def call(self, request: Request) -> Response:
        """`POST /`"""
        try:
            if request.headers.get("content-type", "").partition(";")[0].strip() != _JSON:
                raise Invalid("content_type_wrong", f"send JSON as Content-Type: {_JSON}")
            _take(self._requests)
            try:
                body = await read_body(request, self._config.body_bytes_max, BODY_S_MAX)
                answer = await self._dispatcher(request).answer(body)
            finally:
                self._requests.release()
        except (Invalid, Unavailable) as fault:
            return refuse(fault)
        if answer is None:
            return Response(status_code=204)
        return Response(answer, media_type=_JSON)

    async def put_blob(self, request: Request) -> Response:
        """`PUT /blob`: the body is the blob; the answer is a BlobView."""
        try:
            if not self._is_authorized(request.headers):
                raise Invalid("unauthorized", "PUT /blob needs the node's bearer token")
            self._charge(request, 1)
            _take(self._transfers)
            try:
                data = await read_body(request, self._config.blob_bytes_max, BLOB_S_MAX)
                cid = await self._service.backend.put_blob(data)
            finally:
                self._transfers.release()
        except (Invalid, Unavailable) as fault:
            return refuse(fault)
        return Response(write_json(schema.to_json(BlobView(cid, len(data)))), media_type=_JSON)

    async def get_blob(self, request: Request) -> Response:
        """`GET /blob/<cid>`: its bytes."""
        try:
            cid = parse_cid(request.path_params["cid"])
            self._charge(request, 1)
            _take(self._transfers)
            try:
                data = await self._find_blob(cid)
            except BaseException:
                self._transfers.release()
                raise
        except (Invalid, Unavailable) as fault:
            return refuse(fault)
        # A CID names these bytes for ever; and no browser may take them for a page of this node.
        headers = {
            "content-length": str(len(data)),
            "cache-control": "public, max-age=31536000, immutable",
            "etag": f'"{format_cid(cid)}"',
            "x-content-type-options": "nosniff",
        }
        pieces = _pieces(data)
        return HoldingResponse(self._transfers, pieces, 200, headers, "application/octet-stream")

    async def open_session(self, socket: WebSocket) -> None:
        """`/ws`"""
        await Session(socket, self._dispatcher(socket)).run()

    async def _find_blob(self, cid: Cid) -> bytes:
        with trio.move_on_after(BLOB_S_MAX):
            return await find_blob(self._service, cid)
        raise Unavailable("deadline_exceeded", "the blob was not found in time; try later")

    def _dispatcher(self, caller: HTTPConnection) -> Dispatcher:
        return Dispatcher(
            self._service,
            METHODS,
            self._is_authorized(caller.headers),
            self._config.batch_max,
            partial(self._charge, caller),
        )

    def _charge(self, caller: HTTPConnection, calls: int) -> None:
        """Raises Unavailable(`rate_limited`)."""
        host = "" if caller.client is None else caller.client.host
        if is_loopback(host) and not self._config.limits_loopback:
            return
        if self._config.token is not None and self._is_authorized(caller.headers):
            return
        self._rates.take(host, calls, trio.current_time())

    def _is_authorized(self, headers: Headers) -> bool:
        if self._config.token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        expected = self._config.token.encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected)


class HoldingResponse(StreamingResponse):
    """Gives `limiter` back once all is written: until then the bytes are in memory."""

    def __init__(self, limiter: trio.CapacityLimiter, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._limiter = limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._limiter.release()


class SameSite:
    """Refuses requests that a browser sends on behalf of another site."""

    def __init__(self, app: ASGIApp, is_loopback: bool) -> None:
        self._app = app
        self._is_loopback = is_loopback

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        origin = headers.get("origin")
        fault: Invalid | None = None
        if self._is_loopback and not is_loopback(_host_name(host)):
            fault = Invalid(
                "host_wrong", "this node answers to 127.0.0.1, [::1] and localhost only"
            )
        elif origin is not None and origin.partition("://")[2] != host:
            fault = Invalid("origin_wrong", "requests from pages of other sites are refused")
        if fault is None:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await WebSocket(scope, receive, send).close(1008)
        else:
            await refuse(fault)(scope, receive, send)


def make_app(service: Service, config: RpcConfig, routes: Sequence[BaseRoute] = ()) -> ASGIApp:
    """The application; `routes` (an explorer, metrics) come before its own."""
    handlers = RpcApp(service, config)
    own = [
        Route("/", handlers.call, methods=["POST"]),
        Route("/blob", handlers.put_blob, methods=["PUT"]),
        Route("/blob/{cid}", handlers.get_blob, methods=["GET"]),
        WebSocketRoute("/ws", handlers.open_session),
    ]
    return SameSite(Starlette(routes=[*routes, *own]), is_loopback(config.host))


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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
        write_json(error_response(fault)), status, {"connection": "close"}, media_type=_JSON
    )


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


def _take(limiter: trio.CapacityLimiter) -> None:
    try:
        limiter.acquire_nowait()
    except trio.WouldBlock:
        raise Unavailable("overloaded", "too many requests in work; try again soon") from None


def _too_large(bytes_max: int) -> Invalid:
    return Invalid("body_too_large", f"at most {bytes_max} bytes are accepted here")


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


async def _pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), BLOB_PIECE_BYTES):
        yield data[start : start + BLOB_PIECE_BYTES]
