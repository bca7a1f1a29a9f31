"""The RPC as a web application: JSON-RPC at `POST /`, blobs at `/blob`, WebSocket at `/ws`.

A page of another site must not reach a node through its owner's browser. So JSON-RPC takes
`application/json` only (which browsers do not send across sites unasked), a foreign `Origin` is
refused, and a node that listens on the loopback interface answers only to loopback names.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final

import trio
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.blobs import BlobRoutes
from p2p_aios.rpc.bodies import JSON_TYPE, Answer, Unsent, read_body, refuse, take
from p2p_aios.rpc.config import RpcConfig
from p2p_aios.rpc.dispatch import Dispatcher
from p2p_aios.rpc.gate import Gate, SameSite, is_loopback
from p2p_aios.rpc.meter import CallMeter
from p2p_aios.rpc.methods import METHODS
from p2p_aios.rpc.registry import Service
from p2p_aios.rpc.websocket import Session

BODY_S_MAX: Final = 10
"""Deadline for a request body to arrive."""
REQUESTS_MAX: Final = 256
"""JSON-RPC messages in work at once; most of them may be waiting for a block."""


class RpcApp:
    """Handlers of JSON-RPC; `make_app` wires them."""

    def __init__(self, service: Service, config: RpcConfig, gate: Gate, meter: CallMeter) -> None:
        self._service = service
        self._limits = config.limits
        self._gate = gate
        self._meter = meter
        self._requests = trio.CapacityLimiter(REQUESTS_MAX)
        self._unsent = Unsent()

    async def call(self, request: Request) -> Response:
        """`POST /`"""
        try:
            if request.headers.get("content-type", "").partition(";")[0].strip() != JSON_TYPE:
                raise Invalid("content_type_wrong", f"send JSON as Content-Type: {JSON_TYPE}")
            take(self._requests)
            try:
                body = await read_body(request, self._limits.body_bytes_max, BODY_S_MAX)
                answer = await self._dispatcher(request).answer(body)
            finally:
                self._requests.release()
        except (Invalid, Unavailable) as fault:
            return refuse(fault)
        return Response(status_code=204) if answer is None else Answer(answer, self._unsent)

    async def open_session(self, socket: WebSocket) -> None:
        """`/ws`"""
        await Session(socket, self._dispatcher(socket), self._unsent).run()

    def _dispatcher(self, caller: HTTPConnection) -> Dispatcher:
        return Dispatcher(
            self._service,
            METHODS,
            self._gate.is_authorized(caller.headers),
            self._limits.batch_max,
            partial(self._gate.charge, caller),
            partial(self._gate.charge_afterwards, caller),
            self._meter,
        )


def make_app(
    service: Service, config: RpcConfig, meter: CallMeter, routes: Sequence[BaseRoute] = ()
) -> ASGIApp:
    """The application; `routes` (an explorer, metrics) come before its own."""
    gate = Gate(config)
    rpc = RpcApp(service, config, gate, meter)
    blobs = BlobRoutes(service, gate, config.limits.blob_bytes_max)
    own = [
        Route("/", rpc.call, methods=["POST"]),
        Route("/blob", blobs.put, methods=["PUT"]),
        Route("/blob/{cid}", blobs.get, methods=["GET"]),
        WebSocketRoute("/ws", rpc.open_session),
    ]
    return SameSite(Starlette(routes=[*routes, *own]), is_loopback(config.host))
