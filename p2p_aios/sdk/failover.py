"""Several nodes as one: a question goes to the current node, and on to the next where that fails.

Every method of the RPC may be asked twice: reads change nothing, a transaction or blob that is
there already keeps its id. So whatever was not answered is asked again, a bounded number of times,
after pauses that double. Refusals (Invalid) are answers, and final.
"""

import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import trio

from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.sdk.transport import Call, Transport

TRIES: Final = 3
"""How often a question is asked of each node, by default."""
NODES_MAX: Final = 16
PAUSE_S_FIRST: Final = 0.1
PAUSE_S_MAX: Final = 5.0
HINT_MS_MAX: Final = 30_000
"""Longest that a node's wish to be left alone is heeded; the largest answer costs some 20 s."""
AGAIN: Final = frozenset({"node_unreachable", "overloaded", "rate_limited"})
"""Codes after which the same node may answer."""
ELSEWHERE: Final = frozenset(
    {"answer_malformed", "internal_error", "node_syncing", "height_pruned", "finality_unproven"}
)
"""Codes after which only another node can."""

T = TypeVar("T")


class Nodes:
    """Transports to the nodes of one chain; the last that answered is asked first."""

    def __init__(self, urls: Sequence[str], token: str | None, tries: int = TRIES) -> None:
        if not 1 <= len(urls) <= NODES_MAX:
            raise Invalid("nodes_malformed", f"name one to {NODES_MAX} nodes, not {len(urls)}")
        self._transports = [Transport(url, token) for url in urls]
        self._urls = list(urls)
        self.tries = max(1, tries)
        """How often each is asked."""
        self._current = 0

    @property
    def url(self) -> str:
        """Of the node asked next."""
        return self._urls[self._current]

    @property
    def count(self) -> int:
        return len(self._urls)

    def leave(self) -> None:
        """Ask the next node from now on."""
        self._current = (self._current + 1) % len(self._transports)

    async def aclose(self) -> None:
        for transport in self._transports:
            await transport.aclose()

    async def call(self, method: str, params: dict[str, Any]) -> Any:
        """As `Transport.call`, of any of the nodes."""
        return await self.ask(lambda transport: transport.call(method, params))

    async def batch(
        self, calls: Sequence[Call], *, is_whole: bool = False
    ) -> list[Any | AiosError]:
        """As `Transport.batch`. Refusals inside the batch are answers; where it `is_whole`, the
        first of them is that of the batch."""

        async def question(transport: Transport) -> list[Any | AiosError]:
            answers = await transport.batch(calls)
            refused = [answer for answer in answers if isinstance(answer, AiosError)]
            if is_whole and refused:
                raise refused[0]
            return answers

        return await self.ask(question)

    async def put_blob(self, data: bytes) -> Any:
        return await self.ask(lambda transport: transport.put_blob(data))

    async def get_blob(self, cid: str, bytes_max: int) -> bytes:
        return await self.ask(lambda transport: transport.get_blob(cid, bytes_max))

    async def ask(self, question: Callable[[Transport], Awaitable[T]]) -> T:
        """Raises what the last node asked answered."""
        left = self.tries * len(self._transports)
        pause_s, missed = PAUSE_S_FIRST, 0
        while True:
            at = self._current
            try:
                return await question(self._transports[at])
            except Unavailable as fault:
                left, missed = left - 1, missed + 1
                is_elsewhere = fault.code in ELSEWHERE and missed < len(self._transports)
                if left == 0 or not (fault.code in AGAIN or is_elsewhere):
                    raise
                hinted_s = hint_s(fault)
            if self._current == at:
                # Unless another task has found a better one meanwhile.
                self.leave()
            if missed % len(self._transports) == 0:
                await trio.sleep(max(hinted_s, pause_s * random.uniform(0.5, 1)))
                pause_s = min(2 * pause_s, PAUSE_S_MAX)


def hint_s(fault: Unavailable) -> float:
    """How long the node asked to be left alone, within bounds."""
    hinted_ms = fault.details.get("retry_ms", 0)
    return min(max(0, hinted_ms), HINT_MS_MAX) / 1000 if isinstance(hinted_ms, int) else 0.0
