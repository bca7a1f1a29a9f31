"""The tree of executed blocks above the finalized tip.

Every view may bring a block and only some become final, so whatever stops finality must not fill
the memory: past the bounds those go that nothing stands on, of the oldest view first. Consensus has
blocks executed that follow what is certified, and honest leaders build on the newest of that: it
has children by then, or is the highest block, which stays. What has children is the chain itself,
which the epoch ends.
"""

from typing import Final

from p2p_aios.errors import Unavailable
from p2p_aios.node.candidate import Candidate
from p2p_aios.units import Hash

CANDIDATES_MAX: Final = 2048
"""Most blocks held: more than an epoch has heights."""
CANDIDATE_BYTES_MAX: Final = 64 << 20
"""Most bytes of encoded transactions in them; what they changed takes a few times as many."""


class Branches:
    """Executed blocks by hash."""

    def __init__(
        self, count_max: int = CANDIDATES_MAX, bytes_max: int = CANDIDATE_BYTES_MAX
    ) -> None:
        self._count_max, self._bytes_max = count_max, bytes_max
        self._held: dict[Hash, Candidate] = {}
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._held)

    def get(self, block: Hash) -> Candidate | None:
        return self._held.get(block)

    def add(self, candidate: Candidate) -> Candidate:
        """Hold a block; of two executions the first one stays and is returned, for children may
        stand on its trie nodes."""
        known = self._held.get(candidate.hash)
        if known is not None:
            return known
        self._held[candidate.hash] = candidate
        self._bytes += _bytes_of(candidate)
        self._evict(candidate)
        return candidate

    def way(self, tip: Hash, block: Hash) -> tuple[Candidate, ...]:
        """From `block` down to the child of `tip`; empty for the tip itself.

        Raises Unavailable(`unknown_parent`) where one is not held.
        """
        found: list[Candidate] = []
        while block != tip:
            candidate = self._held.get(block)
            if candidate is None:
                raise Unavailable("unknown_parent", f"no state after block {block.hex()[:16]}")
            found.append(candidate)
            block = candidate.block.header.parent
        return tuple(found)

    def rebase(self, tip: Hash) -> None:
        """Keep what descends from `tip`; ids of the dropped ones' trie nodes stay unused."""
        kept: dict[Hash, Candidate] = {}
        for candidate in sorted(self._held.values(), key=lambda held: held.block.header.height):
            parent = candidate.block.header.parent
            if parent == tip or parent in kept:
                kept[candidate.hash] = candidate
        self._held, self._bytes = kept, sum(map(_bytes_of, kept.values()))

    def _evict(self, newest: Candidate) -> None:
        while len(self._held) > self._count_max or self._bytes > self._bytes_max:
            parents = {held.block.header.parent for held in self._held.values()}
            highest = max(self._held.values(), key=lambda held: held.block.header.height)
            spared = parents | {newest.hash, highest.hash}
            leaves = [held for held in self._held.values() if held.hash not in spared]
            if not leaves:
                return
            oldest = min(leaves, key=_turn)
            del self._held[oldest.hash]
            self._bytes -= _bytes_of(oldest)


def _turn(candidate: Candidate) -> tuple[int, int]:
    return candidate.block.header.epoch, candidate.block.header.view


def _bytes_of(candidate: Candidate) -> int:
    return sum(map(len, candidate.block.transactions))
