"""Who is let in, and how much each may ask."""

import hmac
from ipaddress import ip_address

import trio
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from p2p_aios.errors import Invalid
from p2p_aios.rpc.bodies import refuse
from p2p_aios.rpc.config import RpcConfig
from p2p_aios.rpc.rates import Rates


class Gate:
    """Knows the token, and what each client address has asked of late."""

    def __init__(self, config: RpcConfig) -> None:
        self._token = config.token
        self._limits = config.limits
        self._rates = Rates(config.limits.calls_per_s, config.limits.calls_burst)

    def is_authorized(self, headers: Headers) -> bool:
        """Whether this caller may change state."""
        if self._token is None:
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        expected = self._token.encode()
        return scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), expected)

    def charge(self, caller: HTTPConnection, calls: int) -> None:
        """Raises Unavailable(`rate_limited`)."""
        if not self._is_exempt(caller):
            self._rates.take(host_of(caller), calls, trio.current_time())

    def charge_afterwards(self, caller: HTTPConnection, calls: int) -> None:
        """For what turned out to cost more than a call; refuses the next ones, if need be."""
        if calls > 0 and not self._is_exempt(caller):
            self._rates.owe(host_of(caller), calls, trio.current_time())

    def _is_exempt(self, caller: HTTPConnection) -> bool:
        if is_loopback(host_of(caller)) and not self._limits.limits_loopback:
            return True
        return self._token is not None and self.is_authorized(caller.headers)


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


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(caller: HTTPConnection) -> str:
    return "" if caller.client is None else caller.client.host


def _host_name(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host
