"""A gateway child without Ray, honest or not: `python gateway_villain.py MOOD RAY_ADDRESS …`."""

import os
import sys
import time

from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of
from p2p_aios.codec.frames import LENGTH_BYTES, encode_frame
from p2p_aios.errors import Unavailable
from p2p_aios.types.gateway import (
    FRAME_BYTES_MAX,
    Answer,
    Call,
    Contributors,
    Done,
    GatewayFrame,
    RevealRound,
    RunJob,
    Signed,
    StoreBlob,
    Up,
    failure_of,
)
from p2p_aios.units import Millis


def send(frame: object) -> None:
    write(encode_frame(schema.encode_as(GatewayFrame, frame)))


def write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def answer(mood: str, call: Call, stored: set[bytes]) -> None:
    request = call.request
    if mood == "dies":
        os._exit(7)
    elif mood == "silent":
        return
    elif mood == "garbage":
        write(encode_frame(b"not a frame of ours"))
    elif mood == "oversized":
        write((FRAME_BYTES_MAX + 1).to_bytes(LENGTH_BYTES, "big"))
    elif mood == "wrong":
        send(Answer(call.id, Contributors(())))
    elif mood == "stranger":
        send(Answer(call.id + 1000, Done()))
        send(Answer(call.id, Done()))
    elif isinstance(request, StoreBlob):
        stored.add(request.cid)
        send(Answer(call.id, Done()))
    elif isinstance(request, RunJob):
        if mood == "forgetful" and len(stored) < 3:
            stored.add(b"forgotten once")
            send(failure_of(call.id, Unavailable("blob_missing", "again")))
        else:
            send(Answer(call.id, Signed(b"raw", b"".join(sorted(stored)))))
    elif isinstance(request, RevealRound):
        send(Answer(call.id, Signed(b"raw", bytes(32 << 20))))
    else:
        send(Answer(call.id, Done()))


def main(mood: str) -> None:
    send(Up(Millis(1)))
    stored: set[bytes] = set()
    while head := sys.stdin.buffer.read(LENGTH_BYTES):
        frame = sys.stdin.buffer.read(int.from_bytes(head, "big"))
        call = schema.decode(Call, frame, FRAME_BYTES_MAX)
        if isinstance(call.request, StoreBlob):
            assert cid_of(call.request.data) == call.request.cid
        if mood == "slow":
            time.sleep(0.3)
        answer(mood, call, stored)


if __name__ == "__main__":
    main(sys.argv[1])
