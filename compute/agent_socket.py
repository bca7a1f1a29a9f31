"""The agent's Unix socket (mode 0600): one call a connection, in the frames of
`p2p_aios.types.gateway`."""

import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import trio

from compute.agent import Agent
from p2p_aios.codec import schema
from p2p_aios.codec.frames import LENGTH_BYTES, encode_frame
from p2p_aios.errors import AiosError, Corrupt, Invalid, Unavailable
from p2p_aios.types.gateway import (
    AgentCall,
    AgentReply,
    Contributor,
    Failure,
    Signed,
    failure_of,
    length_of,
)

CALLS_MAX: Final = 16
"""Connections served at once; further ones wait in the kernel's queue."""
CALL_SECONDS_MAX: Final = 300.0
"""A connection is closed after this long, whoever is slow."""
CALL_BYTES_MAX: Final = 512 << 20
"""Most bytes of blobs that one call may bring."""
_RECEIVE_BYTES: Final = 1 << 18

log = logging.getLogger(__name__)


@asynccontextmanager
async def open_agent_socket(agent: Agent, path: Path) -> AsyncIterator[None]:
    """Serve `agent` at `path` while the block runs; a stale socket there is replaced."""
    listener = _listen(path)
    slots = trio.CapacityLimiter(CALLS_MAX)

    async def serve(stream: trio.SocketStream) -> None:
        async with slots, stream:
            with trio.move_on_after(CALL_SECONDS_MAX):
                await _serve_call(agent, stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        try:
            yield
        finally:
            nursery.cancel_scope.cancel()
            path.unlink(missing_ok=True)


def _listen(path: Path) -> trio.SocketListener:
    path.unlink(missing_ok=True)
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        plain.bind(str(path))
        path.chmod(0o600)
        plain.listen(CALLS_MAX)
    except OSError:
        plain.close()
        raise
    return trio.SocketListener(trio.socket.from_stdlib_socket(plain))


async def _serve_call(agent: Agent, stream: trio.SocketStream) -> None:
    try:
        reply = await _answer(agent, stream)
        header = replace(reply, output=b"") if isinstance(reply, Signed) else reply
        await stream.send_all(encode_frame(schema.encode_as(AgentReply, header)))
        if isinstance(reply, Signed):
            await stream.send_all(encode_frame(reply.output))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        log.debug("a caller hung up")


async def _answer(agent: Agent, stream: trio.SocketStream) -> Contributor | Signed | Failure:
    try:
        call = schema.decode(AgentCall, await _receive_frame(stream))
        blobs: list[bytes] = []
        for _ in range(call.blobs):
            blobs.append(await _receive_frame(stream))
            if sum(map(len, blobs)) > CALL_BYTES_MAX:
                raise Invalid("too_large", f"the inputs of one call exceed {CALL_BYTES_MAX} bytes")
        return await agent.answer(call.request, blobs)
    except Corrupt:
        raise
    except AiosError as error:
        log.info("refused: %s", error)
        return failure_of(0, error)
    except Exception as error:  # boundary: one job's failure must not end the agent
        log.exception("a job failed")
        return failure_of(0, Unavailable("job_failed", f"the job failed: {type(error).__name__}"))


async def _receive_frame(stream: trio.SocketStream) -> bytes:
    length = length_of(await _receive_exactly(stream, LENGTH_BYTES))
    return await _receive_exactly(stream, length)


async def _receive_exactly(stream: trio.SocketStream, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        part = await stream.receive_some(min(_RECEIVE_BYTES, length - len(data)))
        if not part:
            raise Invalid("frame_cut", f"the stream ended {length - len(data)} bytes early")
        data += part
    return bytes(data)
