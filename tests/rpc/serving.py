"""Starts the real server on a free loopback port around a `MemoryBackend`."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import trio

from p2p_aios.rpc.config import RpcConfig
from p2p_aios.rpc.server import serve_rpc
from tests.rpc.memory_backend import MemoryBackend

DEFAULT = RpcConfig(port=0)


@dataclass
class Served:
    url: str
    backend: MemoryBackend
    http: httpx.AsyncClient

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    async def post(self, content: bytes | str, **headers: str) -> httpx.Response:
        given = {"content-type": "application/json", **headers}
        return await self.http.post("/", content=content, headers=given)

    async def call(self, method: str, params: Any = None) -> Any:
        """The response object of one call."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        # ASCII, so that half a surrogate pair can be sent as an escape.
        return (await self.post(json.dumps(request))).json()

    async def refusal(self, method: str, params: Any = None) -> tuple[int, str]:
        """Number and stable code of the error."""
        error = (await self.call(method, params))["error"]
        return error["code"], error["data"]["code"]


@asynccontextmanager
async def serving(
    config: RpcConfig = DEFAULT, backend: MemoryBackend | None = None
) -> AsyncIterator[Served]:
    backend = backend or MemoryBackend()
    async with trio.open_nursery() as nursery:

        async def serve(task_status: Any) -> None:
            await serve_rpc(backend, backend.feed, config, task_status=task_status)

        url = await nursery.start(serve)
        async with httpx.AsyncClient(base_url=url, timeout=20, trust_env=False) as http:
            yield Served(url, backend, http)
        nursery.cancel_scope.cancel()


async def forever(act: Callable[[], Awaitable[object]]) -> None:
    """Repeat `act` until it raises, for at most ten seconds."""
    with trio.fail_after(10):
        while True:
            await act()
