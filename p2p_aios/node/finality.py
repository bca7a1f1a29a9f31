"""The one way by which blocks become final in this node, whether voted on or fetched."""

import logging
import time
from collections.abc import Callable, Sequence

import trio

from p2p_aios.node.candidate import Candidate
from p2p_aios.node.chain import Chain
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Hash

log = logging.getLogger(__name__)

Listener = Callable[[tuple[Candidate, ...], Certificate], None]
"""Told of final blocks, oldest first, once they are on disk; must not block."""


class Finality:
    """Writes final blocks one batch after the other, and tells the parts that depend on it."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._writing = trio.Lock()
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every batch, after those added before it."""
        self._listeners.append(listener)

    async def finalize(self, blocks: Sequence[Hash], certificate: Certificate) -> None:
        """Make candidates final, oldest first; those that are final already are passed over."""
        async with self._writing:
            fresh = [block for block in blocks if self._chain.candidate(block) is not None]
            if not fresh:
                return
            final = await self._chain.finalize(fresh, certificate)
            for candidate in final:
                _log_block(candidate)
            for listener in self._listeners:
                listener(final, certificate)


def _log_block(candidate: Candidate) -> None:
    header = candidate.block.header
    log.info(
        "block height=%d epoch=%d view=%d hash=%s tx=%d bytes=%d lag_ms=%d",
        header.height,
        header.epoch,
        header.view,
        candidate.hash.hex()[:16],
        len(candidate.transactions),
        sum(len(raw) for raw in candidate.block.transactions),
        time.time_ns() // 1_000_000 - header.timestamp_ms,
    )
