"""Messages for the next epoch that reach us before its committee does.

Members finish an epoch within a message delay of each other; what the faster ones send is kept, so
that the epoch's first views lose nothing. All of it is unchecked, so all of it is bounded.
"""

from collections import deque
from typing import Final

from p2p_aios.types.block import Proposal
from p2p_aios.types.message import CommitteeMessage
from p2p_aios.units import Address

EARLY_MESSAGES_MAX: Final = 16
"""Per peer; the newest are kept."""
EARLY_PROPOSALS_MAX: Final = 1
"""Per peer; the oldest is kept, for it opens the epoch."""
EARLY_PEERS_MAX: Final = 128
"""Members of two committees."""


class EarlyMessages:
    """A bounded store of unchecked messages."""

    def __init__(self) -> None:
        self._by_peer: dict[Address, deque[CommitteeMessage]] = {}

    def put(self, peer: Address, message: CommitteeMessage) -> None:
        if peer not in self._by_peer and len(self._by_peer) >= EARLY_PEERS_MAX:
            return
        kept = self._by_peer.setdefault(peer, deque(maxlen=EARLY_MESSAGES_MAX))
        is_large = isinstance(message, Proposal)
        if is_large and sum(isinstance(m, Proposal) for m in kept) >= EARLY_PROPOSALS_MAX:
            return
        kept.append(message)

    def take_all(self) -> list[tuple[Address, CommitteeMessage]]:
        """Everything kept, each peer's in its order; then nothing is kept."""
        taken = [(peer, m) for peer, kept in self._by_peer.items() for m in kept]
        self._by_peer.clear()
        return taken
