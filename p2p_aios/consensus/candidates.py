"""Blocks between the finalized tip and the newest proposals, and which of them are executed.

A tree rooted in the tip. Blocks enter as leaders' proposals, as our own, or because they were asked
for by hash. Recently finalized ones stay for members that lag a little.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from p2p_aios.consensus.events import Anchor
from p2p_aios.errors import invariant
from p2p_aios.types.block import Block, block_hash, held_bytes
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Hash

CANDIDATES_MAX: Final = 8192
"""Most blocks held above the tip: an epoch's worth and the losers beside it."""
CANDIDATE_BYTES_MAX: Final = 64 << 20
"""Most bytes of them, certified ones apart; the chain of certified ones is bounded by its rules."""
RECENT_BLOCKS_MAX: Final = 64
"""Finalized blocks kept for members that lag."""
RECENT_BYTES_MAX: Final = 16 << 20


class Standing(Enum):
    """How far the driver's execution of a candidate has come."""

    HELD = auto()
    PENDING = auto()
    VALID = auto()
    INVALID = auto()


@dataclass(slots=True)
class Candidate:
    block: Block
    hash: Hash
    bytes: int
    """About what holding it takes."""
    standing: Standing
    ask_from_ms: int = 0
    """Monotonic; an execution that was postponed is not asked for before."""


class Candidates:
    """The tree of unfinalized blocks."""

    def __init__(self, tip: Anchor) -> None:
        self.tip = tip
        self._by_hash: dict[Hash, Candidate] = {}
        self._recent: deque[Candidate] = deque()

    def __len__(self) -> int:
        return len(self._by_hash)

    def get(self, block: Hash) -> Candidate | None:
        return self._by_hash.get(block)

    def add(self, block: Block, standing: Standing = Standing.HELD) -> Candidate:
        """Hold a block; one held already keeps its standing."""
        name = block_hash(block.header)
        known = self._by_hash.get(name)
        if known is None:
            known = Candidate(block, name, held_bytes(block), standing)
            self._by_hash[name] = known
        elif standing is Standing.VALID:
            known.standing = standing
        return known

    def is_executed(self, block: Hash) -> bool:
        """Whether a child can be built or verified on it."""
        if block == self.tip.block:
            return True
        known = self._by_hash.get(block)
        return known is not None and known.standing is Standing.VALID

    def postponed_ms(self) -> list[int]:
        """When postponed executions may be asked for again, past times included."""
        held = (c for c in self._by_hash.values() if c.standing is Standing.HELD)
        return [candidate.ask_from_ms for candidate in held if candidate.ask_from_ms]

    def timestamp_ms(self, block: Hash) -> int | None:
        if block == self.tip.block:
            return self.tip.timestamp_ms
        known = self._by_hash.get(block)
        return known.block.header.timestamp_ms if known is not None else None

    def height(self, block: Hash) -> int | None:
        if block == self.tip.block:
            return self.tip.height
        known = self._by_hash.get(block)
        return known.block.header.height if known is not None else None

    def branch(self, block: Hash) -> tuple[list[Candidate], Hash | None]:
        """What is held of the way from the tip to `block`, oldest first, and the hash of the next
        older block that is not; None where the way reaches the tip or leads below it."""
        way: list[Candidate] = []
        while block != self.tip.block:
            known = self._by_hash.get(block)
            if known is None:
                return way[::-1], block
            if known.block.header.height <= self.tip.height:
                break
            way.append(known)
            block = known.block.header.parent
        return way[::-1], None

    def chain(self, block: Hash) -> list[Candidate] | None:
        """The blocks from the tip's child to `block`; None where one is missing or the way does not
        lead to the tip."""
        way, missing = self.branch(block)
        if missing is not None:
            return None
        linked = way[0].block.header.parent if way else block
        return way if linked == self.tip.block else None

    def finalize(self, chain: list[Candidate], certificate: Certificate) -> None:
        """Move the tip to the end of `chain` and forget what cannot follow it."""
        last = chain[-1]
        invariant(last.hash == certificate.ballot.block, "the certificate finalizes the chain")
        header = last.block.header
        for candidate in chain:
            self._by_hash.pop(candidate.hash)
            self._recent.append(candidate)
        self._trim_recent()
        self.rebase(Anchor(last.hash, header.height, header.timestamp_ms, certificate))

    def rebase(self, tip: Anchor) -> None:
        """Stand on another tip; blocks not above it go."""
        self.tip = tip
        stale = [c.hash for c in self._by_hash.values() if c.block.header.height <= tip.height]
        for name in stale:
            del self._by_hash[name]

    def serve(self, block: Hash, ancestors: int) -> list[Block]:
        """The block and up to `ancestors` of its ancestors, newest first, as far as held."""
        recent = {candidate.hash: candidate for candidate in self._recent}
        found: list[Block] = []
        while len(found) <= ancestors:
            known = self._by_hash.get(block) or recent.get(block)
            if known is None:
                break
            found.append(known.block)
            block = known.block.header.parent
        return found

    def evict(self, certified: Iterable[Hash]) -> None:
        """Keep within the bounds: blocks that no certified one stands on go, lowest view first."""
        excess = sum(c.bytes for c in self._by_hash.values()) - CANDIDATE_BYTES_MAX
        if excess <= 0 and len(self._by_hash) <= CANDIDATES_MAX:
            return
        kept = self._with_ancestors(certified)
        losers = [c for c in self._by_hash.values() if c.hash not in kept]
        for loser in sorted(losers, key=lambda c: (c.block.header.view, c.hash)):
            if excess <= 0 and len(self._by_hash) <= CANDIDATES_MAX:
                return
            excess -= loser.bytes
            del self._by_hash[loser.hash]

    def _with_ancestors(self, blocks: Iterable[Hash]) -> set[Hash]:
        found: set[Hash] = set()
        for block in blocks:
            while block not in found and (known := self._by_hash.get(block)) is not None:
                found.add(block)
                block = known.block.header.parent
        return found

    def _trim_recent(self) -> None:
        total = sum(candidate.bytes for candidate in self._recent)
        while len(self._recent) > RECENT_BLOCKS_MAX or total > RECENT_BYTES_MAX:
            total -= self._recent.popleft().bytes
