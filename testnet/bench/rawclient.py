"""HTTP and WebSocket clients that cost next to nothing: what a benchmark measures is the server.

They understand what an AIOS node sends and nothing else: answers with a content-length, unmasked
frames.
"""

from types import TracebackType
from typing import Final

import trio

from p2p_aios.errors import Unavailable, invariant

READ_BYTES: Final = 1 << 16
ANSWER_BYTES_MAX: Final = 16 << 20
_END: Final = b"\r\n\r\n"


class RawConnection:
    """One kept-alive connection to a node on this machine; an async context."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stream: trio.SocketStream
        self._buffer = bytearray()

    async def __aenter__(self) -> "RawConnection":
        self._stream = await trio.open_tcp_stream("127.0.0.1", self._port)
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await trio.aclose_forcefully(self._stream)

    def request(self, body: bytes) -> bytes:
        """The bytes of a JSON-RPC message, to be sent as often as wanted."""
        head = (
            f"POST / HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def ask(self, request: bytes) -> bytes:
        """The answer's body. Raises Unavailable(`answer_malformed`)."""
        await self._stream.send_all(request)
        head = await self._until(_END)
        lengths = [
            line.partition(b":")[2]
            for line in head.lower().split(b"\r\n")
            if line.startswith(b"content-length:")
        ]
        if not head.startswith(b"HTTP/1.1 200") or len(lengths) != 1:
            raise Unavailable("answer_malformed", f"not an answer: {head[:80]!r}")
        return await self._take(int(lengths[0]))

    async def follow(self, message: str) -> None:
        """Become a WebSocket and send one short text; what comes is then for `drain`."""
        await self._stream.send_all(
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\n"
            "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
        )
        if not (await self._until(_END)).startswith(b"HTTP/1.1 101"):
            raise Unavailable("answer_malformed", "the node opens no WebSocket")
        text = message.encode()
        # A text frame of up to 125 bytes (RFC 6455 §5.2); its mask is zero.
        invariant(len(text) <= 125, "the message fits a short frame")
        await self._stream.send_all(bytes((0x81, 0x80 | len(text))) + bytes(4) + text)

    async def drain(self, seconds: float) -> int:
        """Read whatever comes for so long; how many bytes that were.

        Raises Unavailable(`subscription_lost`) where the node closes the connection.
        """
        count = len(self._buffer)
        self._buffer.clear()
        with trio.move_on_after(seconds):
            while data := await self._stream.receive_some(READ_BYTES):
                count += len(data)
            raise Unavailable("subscription_lost", "the node closed the connection")
        return count

    async def _until(self, end: bytes) -> bytes:
        while (at := self._buffer.find(end)) < 0:
            await self._more()
        return await self._take(at + len(end))

    async def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._more()
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        return taken

    async def _more(self) -> None:
        data = await self._stream.receive_some(READ_BYTES)
        if not data or len(self._buffer) > ANSWER_BYTES_MAX:
            raise Unavailable("answer_malformed", "the node closed inside an answer, or never ends")
        self._buffer += data
