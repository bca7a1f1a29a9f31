"""Received blocks between our tip and what can be delivered.

The edge is the last block delivered (at first our tip). A run is what follows it without a gap,
linked by parent hashes, within one epoch: its committee is known once the edge is executed. The
certificate at a run's end vouches for all of it, since each block names its parent's hash.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from p2p_aios.sync.events import Peer, Penalize
from p2p_aios.types.block import FinalizedBlock, held_bytes
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Hash, Height

_SEAT_BYTES = 128
"""What holding a certificate's seat and signature takes."""


@dataclass(frozen=True, slots=True)
class Held:
    block: FinalizedBlock
    hash: Hash
    peer: Peer
    size: int
    """About what holding it takes, in bytes."""


@dataclass(frozen=True, slots=True)
class Blame:
    """Peers whose blocks were dropped: proved wrong, or merely doubted."""

    proved: tuple[Penalize, ...] = ()
    doubted: tuple[Peer, ...] = ()

    def peers(self) -> tuple[Peer, ...]:
        return (*(each.peer for each in self.proved), *self.doubted)


class Window:
    def __init__(self, height: Height, hash: Hash) -> None:
        self.edge_height, self.edge_hash = height, hash
        self.reach = int(height)
        """Height of the last block held without a gap after the edge."""
        self.bytes_held = 0
        self._held: dict[int, Held] = {}

    def __contains__(self, height: int) -> bool:
        return height in self._held

    def __len__(self) -> int:
        return len(self._held)

    def move_edge(self, height: Height, hash: Hash) -> None:
        """Forget what lies at or below the new edge."""
        self.edge_height, self.edge_hash = height, hash
        for passed in [held for held in self._held if held <= height]:
            self._drop(passed)
        self.reach = int(height)
        self._extend_reach()

    def hold(
        self, peer: Peer, blocks: tuple[FinalizedBlock, ...], hashes: tuple[Hash, ...]
    ) -> None:
        """Keep checked blocks; those at or below the edge and those held already are ignored."""
        for block, digest in zip(blocks, hashes, strict=True):
            height = block.block.header.height
            if height > self.edge_height and height not in self._held:
                held = Held(block, digest, peer, _size_of(block))
                self._held[height] = held
                self.bytes_held += held.size
        self._extend_reach()

    def take_run(self, verify: Callable[[Certificate], bool]) -> tuple[tuple[Held, ...], Blame]:
        """The longest verified run, taken out, with the edge moved to its end; or nothing.

        Stops at the first one to blame, whose blocks are dropped: call again after it.
        """
        run = list(self._run())
        for last in range(len(run) - 1, -1, -1):
            held = run[last]
            if held.block.certificate is None:
                continue
            if not verify(held.block.certificate):
                height = held.block.block.header.height
                return (), self._blame(held.peer, "certificate_invalid", f"at height {height}")
            self.move_edge(held.block.block.header.height, held.hash)
            return tuple(run[: last + 1]), Blame()
        return (), self._blame_broken_link(run)

    def drop_all(self) -> tuple[Peer, ...]:
        """Forget everything held; returns who sent it."""
        senders = sorted({held.peer for held in self._held.values()})
        self._held.clear()
        self.bytes_held, self.reach = 0, int(self.edge_height)
        return tuple(senders)

    def drop_open_end(self) -> tuple[Peer, ...]:
        """Forget the blocks of whoever sent the run's last one; returns that peer, if any."""
        run = list(self._run())
        if not run:
            return ()
        self._drop_of(run[-1].peer)
        return (run[-1].peer,)

    def _drop_of(self, peer: Peer) -> None:
        for height in [h for h, held in self._held.items() if held.peer == peer]:
            self._drop(height)

    def _run(self) -> Iterator[Held]:
        parent, height, epoch = self.edge_hash, int(self.edge_height) + 1, None
        while height in self._held:
            held = self._held[height]
            header = held.block.block.header
            if header.parent != parent or header.epoch != (
                header.epoch if epoch is None else epoch
            ):
                return
            yield held
            parent, height, epoch = held.hash, height + 1, header.epoch

    def _blame_broken_link(self, run: list[Held]) -> Blame:
        """Why a run without certificate ends: a gap is nobody's fault, a wrong parent someone's.

        So is a new epoch: the last block of one always has its own certificate.
        """
        after = self._held.get(self.edge_height + len(run) + 1)
        if after is None:
            return Blame()
        header = after.block.block.header
        if not run:
            message = f"block {header.height} does not follow our finalized block"
            return self._blame(after.peer, "range_unlinked", message)
        # Which of the two lies nobody can tell, so neither is kept: whoever is asked next then has
        # room to answer up to a certificate. The doubt falls on the open end, because an honest
        # answer has none if it can.
        doubted = self.drop_open_end()
        self._drop_of(after.peer)
        return Blame(doubted=doubted)

    def _blame(self, peer: Peer, code: str, message: str) -> Blame:
        self._drop_of(peer)
        return Blame(proved=(Penalize(peer, code, message),))

    def _drop(self, height: int) -> None:
        self.bytes_held -= self._held.pop(height).size
        self.reach = min(self.reach, height - 1)

    def _extend_reach(self) -> None:
        while self.reach + 1 in self._held:
            self.reach += 1


def _size_of(block: FinalizedBlock) -> int:
    seats = len(block.certificate.seats) if block.certificate else 0
    return held_bytes(block.block) + seats * _SEAT_BYTES
