"""Requests: one question, one answer of any size up to a bound, on a stream of its own.

The asker sends one frame. The answer is a sequence of frames of at most 1 MiB, each led by a byte
that says what it is: a part, the end, or a refusal. An answer can therefore be larger than memory
allows in one piece, and its end is told apart from a broken stream.

Time-outs here may fall into a write: `connection.py` sees to it that frames leave whole, and the
stream is reset afterwards.
"""

import contextlib
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import IntEnum
from typing import Final

import trio

from p2p_aios.codec.frames import FrameBuffer, encode_frame
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.network.host import Host
from p2p_aios.network.identity import format_peer
from p2p_aios.network.penalties import GARBAGE, NUISANCE
from p2p_aios.network.wire import FRAME_BYTES_MAX, Stream

PAYLOAD_BYTES_MAX: Final = FRAME_BYTES_MAX
"""Largest question."""
PART_BYTES_MAX: Final = FRAME_BYTES_MAX - 1
"""Largest part of an answer."""
ANSWER_BYTES_MAX: Final = 128 << 20
"""Largest answer anybody may ask for or give."""
PARTS_MAX: Final = 65_536
"""Most frames of one answer, empty ones included."""
ASKING_MAX: Final = 32
"""Questions of ours under way at once."""
ASKING_PER_PEER_MAX: Final = 4
ANSWERING_MAX: Final = 32
"""Questions being answered at once; further ones are told to come again."""
ANSWERING_PER_PEER_MAX: Final = 8
ANSWERING_STRANGERS_MAX: Final = 24
"""Of those, for peers that we do not know: whoever makes up identities and takes his time to read
must not keep us from answering the committee."""
QUESTION_S_MAX: Final = 5.0
"""Time for a question to arrive once its stream is open."""
ANSWER_S_MAX: Final = 120.0
"""Time for an answer to be made and taken."""
PARTING_S_MAX: Final = 30.0
"""Time for the asker to read what is still under way."""
REFUSAL_BYTES_MAX: Final = 1024
CODE_PATTERN: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")

log = logging.getLogger(__name__)

Answer = bytes | AsyncIterator[bytes]
AnswerHandler = Callable[[bytes, bytes], Awaitable[Answer]]
"""(asking peer, question) -> the answer, whole or in pieces. Invalid and Unavailable reach the
asker with their code and sentence; anything else it raises reaches it as `answer_failed`."""


class _Kind(IntEnum):
    """First byte of an answer's frame."""

    PART = 0
    END = 1
    INVALID = 2
    UNAVAILABLE = 3


class Requests:
    """Asking and answering on one host."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._protocol = host.config.protocol("request")
        self._handler: AnswerHandler | None = None
        self._asking = trio.CapacityLimiter(ASKING_MAX)
        self._asking_peers: dict[bytes, trio.CapacityLimiter] = {}
        self._answering: Counter[bytes] = Counter()
        host.serve(self._protocol, self._receive)

    def serve(self, handler: AnswerHandler) -> None:
        """Answer questions with `handler` from now on. Before, all are refused as `not_serving`."""
        self._handler = handler

    async def request(
        self, peer: bytes, payload: bytes, *, deadline_s: float, bytes_max: int
    ) -> bytes:
        """Ask a connected peer and wait for the whole answer, at most `bytes_max` bytes.

        Waits its turn (`ASKING_MAX`, `ASKING_PER_PEER_MAX`) within the deadline.

        Raises Invalid with the peer's own code if the peer refused the question for good, or
        Invalid(`answer_too_large`, `answer_malformed`, `too_large`); Unavailable with the peer's
        own code, or Unavailable(`peer_not_connected`, `stream_refused`, `stream_lost`,
        `request_timed_out`).
        """
        parts: list[bytes] = []
        await self.request_parts(
            peer, payload, deadline_s=deadline_s, bytes_max=bytes_max, take=parts.append
        )
        return b"".join(parts)

    async def request_parts(
        self,
        peer: bytes,
        payload: bytes,
        *,
        deadline_s: float,
        bytes_max: int,
        take: Callable[[bytes], object],
    ) -> None:
        """As `request`, but hands the answer to `take` piece by piece as it arrives.

        What was taken counts only once this has returned.
        """
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise Invalid("too_large", f"a question holds {PAYLOAD_BYTES_MAX} bytes")
        limiter = self._asking_peers.setdefault(peer, trio.CapacityLimiter(ASKING_PER_PEER_MAX))
        try:
            with trio.fail_after(deadline_s):
                async with limiter, self._asking:
                    await self._ask(peer, payload, min(bytes_max, ANSWER_BYTES_MAX), take)
        except trio.TooSlowError:
            raise Unavailable(
                "request_timed_out", f"{format_peer(peer)} gave no answer in {deadline_s} s"
            ) from None
        finally:
            if not limiter.borrowed_tokens and not limiter.statistics().tasks_waiting:
                self._asking_peers.pop(peer, None)

    async def _ask(
        self, peer: bytes, payload: bytes, bytes_max: int, take: Callable[[bytes], object]
    ) -> None:
        stream = await self._host.open_stream(peer, self._protocol)
        try:
            await stream.write(encode_frame(payload))
            await _read_answer(stream, bytes_max, take)
        except Invalid as error:
            if error.code in ("frame_too_large", "answer_malformed"):
                self._host.penalize(peer, GARBAGE, error.code)
            raise
        finally:
            await stream.reset()

    async def _receive(self, stream: Stream) -> None:
        peer = stream.peer
        if not self._has_room(peer):
            await _write_refusal(stream, _Kind.UNAVAILABLE, "busy", "too many requests; try later")
        else:
            self._answering[peer] += 1
            try:
                with trio.move_on_after(ANSWER_S_MAX):
                    await self._answer(stream)
            finally:
                self._answering[peer] -= 1
                if not self._answering[peer]:
                    del self._answering[peer]
        await _part_from(stream)

    def _has_room(self, peer: bytes) -> bool:
        answering, is_known = self._answering, self._host.is_known
        if answering.total() >= ANSWERING_MAX or answering[peer] >= ANSWERING_PER_PEER_MAX:
            return False
        strangers = sum(count for other, count in answering.items() if not is_known(other))
        return is_known(peer) or strangers < ANSWERING_STRANGERS_MAX

    async def _answer(self, stream: Stream) -> None:
        """Raises Invalid for a malformed question, Unavailable(`stream_lost`)."""
        with trio.move_on_after(QUESTION_S_MAX) as patience:
            payload = await _read_question(stream)
        if patience.cancelled_caught:
            self._host.penalize(stream.peer, NUISANCE, "question_too_slow")
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_end, stream, nursery.cancel_scope)
            await self._write_reply(stream, payload)
            nursery.cancel_scope.cancel()

    async def _write_reply(self, stream: Stream, payload: bytes) -> None:
        """Raises Unavailable(`stream_lost`)."""
        try:
            if self._handler is None:
                raise Unavailable("not_serving", "this node answers no requests yet")
            await _write_answer(stream, await self._handler(stream.peer, payload))
        except Invalid as error:
            await _write_refusal(stream, _Kind.INVALID, error.code, error.message)
        except Unavailable as error:
            await _write_refusal(stream, _Kind.UNAVAILABLE, error.code, error.message)
        except Exception:  # a handler's bug costs this answer only
            log.exception("peer=%s answering a request failed", format_peer(stream.peer))
            await _write_refusal(stream, _Kind.UNAVAILABLE, "answer_failed", "our own fault")


async def _read_question(stream: Stream) -> bytes:
    buffer = FrameBuffer(PAYLOAD_BYTES_MAX)
    while (question := buffer.next_frame()) is None:
        data = await stream.read()
        if not data:
            raise Unavailable("stream_lost", "the asker left before it had asked")
        buffer.feed(data)
    return question


async def _write_answer(stream: Stream, answer: Answer) -> None:
    if isinstance(answer, bytes):
        await _write_parts(stream, answer)
    else:
        async for piece in answer:
            await _write_parts(stream, piece)
    await stream.write(encode_frame(bytes([_Kind.END])))


async def _write_parts(stream: Stream, data: bytes) -> None:
    for start in range(0, len(data), PART_BYTES_MAX):
        part = data[start : start + PART_BYTES_MAX]
        await stream.write(encode_frame(bytes([_Kind.PART]) + part))


async def _write_refusal(stream: Stream, kind: _Kind, code: str, message: str) -> None:
    body = f"{code}\n{message}".encode()[: REFUSAL_BYTES_MAX - 1]
    await stream.write(encode_frame(bytes([kind]) + body))


async def _cancel_at_end(stream: Stream, scope: trio.CancelScope) -> None:
    """Nobody waits for an answer whose asker has gone; libp2p lets handlers run on."""
    with contextlib.suppress(Unavailable):
        while await stream.read():
            pass
    scope.cancel()


async def _part_from(stream: Stream) -> None:
    """Wait a little for the asker to be done with the stream: a reset on top of an answer would
    discard what the asker has not read yet."""
    await stream.close()
    with trio.move_on_after(PARTING_S_MAX):
        while await stream.read():
            pass
    await stream.reset()


async def _read_answer(stream: Stream, bytes_max: int, take: Callable[[bytes], object]) -> None:
    """Read frames up to the end of the answer."""
    buffer, size, parts = FrameBuffer(FRAME_BYTES_MAX), 0, 0
    while True:
        while (frame := buffer.next_frame()) is not None:
            match frame[:1]:
                case b"\x00":
                    size, parts = size + len(frame) - 1, parts + 1
                    if size > bytes_max or parts > PARTS_MAX:
                        raise Invalid("answer_too_large", f"more than {bytes_max} bytes came")
                    take(frame[1:])
                case b"\x01" if len(frame) == 1:
                    return
                case b"\x02":
                    raise Invalid(*_parse_refusal(frame[1:]))
                case b"\x03":
                    raise Unavailable(*_parse_refusal(frame[1:]))
                case _:
                    raise Invalid("answer_malformed", "an answer's frame is of no known kind")
        data = await stream.read()
        if not data:
            raise Unavailable("stream_lost", "the peer left in the middle of its answer")
        buffer.feed(data)


def _parse_refusal(body: bytes) -> tuple[str, str]:
    """(code, message) as the peer wrote them. Raises Invalid(`answer_malformed`)."""
    code, _, message = body.decode(errors="replace").partition("\n")
    if len(body) > REFUSAL_BYTES_MAX or not CODE_PATTERN.fullmatch(code):
        raise Invalid("answer_malformed", "a refusal carries no code")
    return code, message
