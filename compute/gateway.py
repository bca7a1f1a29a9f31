"""The compute gateway: `python -m compute.gateway RAY_ADDRESS NODE_IP TOKEN_FILE`.

A child process of the node that holds the Ray driver, because a driver stalls and kills the process
it lives in. Frames come in on standard input and go out on what was standard output; everything
else that anybody prints goes to standard error. It ends when standard input does, and when the
cluster is lost: its supervisor starts it again and it waits until the head is there.
"""

import asyncio
import logging
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from compute.environment import NAMESPACE, check_token, is_listening, set_environment
from p2p_aios.codec import schema
from p2p_aios.codec.frames import LENGTH_BYTES, encode_frame
from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.types.gateway import (
    FRAME_BYTES_MAX,
    Answer,
    Call,
    Failure,
    GatewayFrame,
    Up,
    failure_of,
    length_of,
)
from p2p_aios.units import Millis

if TYPE_CHECKING:
    from compute.cluster import Cluster

CALLS_MAX: Final = 256
"""Calls in progress; further ones are refused."""
QUEUE_FRAMES_MAX: Final = 512
WATCH_S: Final = 2.0
WAIT_S: Final = 0.5
"""Pause between looks for the head."""
NODE_GONE: Final = 0
CLUSTER_LOST: Final = 11
FRAME_BROKEN: Final = 12
NODE_STALLED: Final = 13
NO_CLUSTER: Final = 14
"""Exit codes."""

log = logging.getLogger("compute.gateway")

Queue = queue.Queue[bytes]


def main(arguments: list[str]) -> None:
    """Serve until an end; never returns."""
    begun = time.monotonic()
    address, node_ip, token_file = arguments
    frames_out = os.dup(1)
    os.dup2(2, 1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    incoming: Queue = queue.Queue(QUEUE_FRAMES_MAX)
    outgoing: Queue = queue.Queue(QUEUE_FRAMES_MAX)
    threading.Thread(target=_read_frames, args=(incoming,), daemon=True).start()
    threading.Thread(target=_write_frames, args=(frames_out, outgoing), daemon=True).start()
    set_environment(os.environ, Path(token_file))
    _wait_for_head(address, Path(token_file))
    cluster = _connect(address, node_ip)
    up = Up(Millis(round((time.monotonic() - begun) * 1000)))
    outgoing.put(schema.encode_as(GatewayFrame, up))
    asyncio.run(_serve(cluster, incoming, outgoing))


def _wait_for_head(address: str, token_file: Path) -> None:
    told = ""
    while True:
        try:
            check_token(token_file)
            if is_listening(address):
                return
        except AiosError as error:
            if str(error) != told:
                log.warning("%s", error)
            told = str(error)
        time.sleep(WAIT_S)


def _connect(address: str, node_ip: str) -> "Cluster":
    # Imported here: they read the environment that `main` has just set, and take a second.
    import ray

    from compute.cluster import Cluster

    try:
        ray.init(
            address=address,
            _node_ip_address=node_ip,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level="ERROR",
        )
        return Cluster()
    except Exception as error:  # noqa: BLE001 - boundary: ray raises many kinds; the supervisor tries again
        log.error("cannot join the cluster at %s: %s", address, error)
        os._exit(NO_CLUSTER)


async def _serve(cluster: "Cluster", incoming: Queue, outgoing: Queue) -> None:
    calls: set[asyncio.Task[None]] = set()
    calls.add(asyncio.create_task(_watch(cluster)))
    while True:
        frame = await asyncio.to_thread(incoming.get)
        try:
            call = await _decode(frame)
        except Invalid as error:
            log.error("a frame of the node is broken: %s", error)
            os._exit(FRAME_BROKEN)
        if len(calls) >= CALLS_MAX:
            busy = Unavailable("gateway_busy", f"{CALLS_MAX} calls are in progress")
            _send(outgoing, failure_of(call.id, busy))
            continue
        task = asyncio.create_task(_answer(cluster, call, outgoing))
        calls.add(task)
        task.add_done_callback(calls.discard)


async def _decode(frame: bytes) -> Call:
    return await asyncio.to_thread(schema.decode, Call, frame, FRAME_BYTES_MAX)


async def _answer(cluster: "Cluster", call: Call, outgoing: Queue) -> None:
    reply: Answer | Failure
    try:
        reply = Answer(call.id, await cluster.handle(call.request, call.timeout_ms / 1000))
    except AiosError as error:
        reply = failure_of(call.id, error)
    except Exception as error:  # boundary: one call's failure must not end the others
        log.exception("a call failed")
        failed = Unavailable("compute_failed", f"the call failed: {type(error).__name__}")
        reply = failure_of(call.id, failed)
    _send(outgoing, reply)


async def _watch(cluster: "Cluster") -> None:
    try:
        while await cluster.is_connected():
            await asyncio.sleep(WATCH_S)
    finally:
        log.error("the cluster is lost")
        os._exit(CLUSTER_LOST)


def _send(outgoing: Queue, frame: Answer | Failure) -> None:
    try:
        outgoing.put_nowait(schema.encode_as(GatewayFrame, frame))
    except queue.Full:
        log.error("the node reads no frames")
        os._exit(NODE_STALLED)


def _read_frames(incoming: Queue) -> None:
    """Thread: whole frames from standard input; its end is ours."""
    with os.fdopen(0, "rb", buffering=1 << 16, closefd=False) as stream:
        while True:
            head = stream.read(LENGTH_BYTES)
            if len(head) < LENGTH_BYTES:
                os._exit(NODE_GONE)
            try:
                length = length_of(head)
            except Invalid as error:
                log.error("%s", error)
                os._exit(FRAME_BROKEN)
            frame = stream.read(length)
            if len(frame) < length:
                os._exit(NODE_GONE)
            incoming.put(frame)


def _write_frames(descriptor: int, outgoing: Queue) -> None:
    """Thread: frames to the node; a closed pipe is our end."""
    while True:
        data = memoryview(encode_frame(outgoing.get()))
        try:
            while data:
                data = data[os.write(descriptor, data) :]
        except OSError:
            os._exit(NODE_GONE)


if __name__ == "__main__":
    main(sys.argv[1:])
