"""The pipes of a gateway child: frames in and out, without ever stalling Trio."""

from typing import Final

import trio

from p2p_aios.codec import schema
from p2p_aios.codec.frames import encode_frame
from p2p_aios.types.gateway import (
    FRAME_BYTES_MAX,
    Answer,
    Call,
    Failure,
    GatewayFrame,
    StoreBlob,
    Up,
)

INLINE_BYTES_MAX: Final = 1 << 17
"""Larger frames are encoded and decoded in a worker thread."""
_RECEIVE_BYTES: Final = 1 << 18


async def encode_call(call: Call) -> bytes:
    """The call as a frame with its length."""
    is_small = not isinstance(call.request, StoreBlob) or (
        len(call.request.data) <= INLINE_BYTES_MAX
    )
    if is_small:
        return encode_frame(schema.encode(call))
    return await trio.to_thread.run_sync(lambda: encode_frame(schema.encode(call)))


async def decode_frame(frame: bytes) -> Up | Answer | Failure:
    """What the child says; raises Invalid for anything else."""

    def decode() -> Up | Answer | Failure:
        found: Up | Answer | Failure = schema.decode_as(GatewayFrame, frame, FRAME_BYTES_MAX)
        return found

    return decode() if len(frame) <= INLINE_BYTES_MAX else await trio.to_thread.run_sync(decode)


async def receive_some(stream: trio.abc.ReceiveStream) -> bytes:
    """Next bytes of the child's output; none at its end."""
    try:
        return bytes(await stream.receive_some(_RECEIVE_BYTES))
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return b""


async def write_frames(process: trio.Process, queued: "trio.MemoryReceiveChannel[bytes]") -> None:
    """The only writer: a cancelled caller must not leave half a frame in the pipe."""
    assert process.stdin is not None
    async with queued:
        async for frame in queued:
            try:
                await process.stdin.send_all(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return


async def close_pipes(process: trio.Process) -> None:
    """Give back the file descriptors."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            await stream.aclose()
