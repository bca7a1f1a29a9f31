"""Who can be asked, and who had better rest."""

from dataclasses import dataclass
from typing import Final

from p2p_aios.sync.events import Peer, RequestNumber
from p2p_aios.units import Height, Millis

PEERS_MAX: Final = 256
"""Most peers remembered."""
FAULTS_MAX: Final = 3
"""After so many failures a peer is not asked for a while."""
REST_MS: Final = 30_000
"""How long such a peer rests."""

NEVER: Final = Millis(0)


@dataclass(slots=True)
class _Standing:
    height: Height
    """Highest block it claims to have."""
    is_proven: bool = False
    """The last it was asked for came, and was true."""
    faults: int = 0
    rests_until_ms: Millis = NEVER
    asked_ms: Millis = NEVER
    request: RequestNumber | None = None
    """The one it is busy with."""


class Peers:
    """Claims and conduct of the connected peers."""

    def __init__(self) -> None:
        self._standings: dict[Peer, _Standing] = {}

    def announced(self, peer: Peer, height: Height) -> None:
        standing = self._standings.get(peer)
        if standing is not None:
            standing.height = height
        elif len(self._standings) < PEERS_MAX:
            self._standings[peer] = _Standing(height)

    def lost(self, peer: Peer) -> None:
        self._standings.pop(peer, None)

    def fault(self, peer: Peer, now_ms: Millis) -> None:
        """One failure more; the last allowed one sends the peer to rest with a clean slate."""
        standing = self._standings.get(peer)
        if standing is None:
            return
        standing.is_proven = False
        standing.faults += 1
        if standing.faults >= FAULTS_MAX:
            standing.faults = 0
            standing.rests_until_ms = Millis(now_ms + REST_MS)

    def prove(self, peer: Peer) -> None:
        """It sent blocks that a verified certificate vouches for."""
        standing = self._standings.get(peer)
        if standing is not None:
            standing.is_proven, standing.faults = True, 0

    def is_proven(self, peer: Peer) -> bool:
        standing = self._standings.get(peer)
        return standing is not None and standing.is_proven

    def lacks(self, peer: Peer, height: Height) -> None:
        """It did not have what it claimed: believe it only below `height`."""
        if peer in self._standings:
            self._standings[peer].height = Height(max(0, height - 1))

    def begin(self, peer: Peer, number: RequestNumber, now_ms: Millis) -> None:
        standing = self._standings[peer]
        standing.request, standing.asked_ms = number, now_ms

    def end(self, peer: Peer) -> None:
        if peer in self._standings:
            self._standings[peer].request = None

    def best(self, height: Height, now_ms: Millis) -> tuple[Peer, Height] | None:
        """An idle peer that claims block `height`, with its claim: a proven one if there is, the
        least faulty, then the one not asked for longest."""
        able = [
            (not standing.is_proven, standing.faults, standing.asked_ms, peer)
            for peer, standing in self._standings.items()
            if standing.request is None
            and standing.height >= height
            and standing.rests_until_ms <= now_ms
        ]
        if not able:
            return None
        peer = min(able)[-1]
        return peer, self._standings[peer].height

    def highest(self, now_ms: Millis) -> Height:
        """The greatest claim among those not at rest; 0 without peers."""
        claims = (s.height for s in self._standings.values() if s.rests_until_ms <= now_ms)
        return max(claims, default=Height(0))

    def next_return_ms(self, now_ms: Millis) -> Millis | None:
        """When the next resting peer may be asked again."""
        returns = [s.rests_until_ms for s in self._standings.values() if s.rests_until_ms > now_ms]
        return min(returns, default=None)
