"""Who misbehaved, how badly, and who is therefore refused for a while.

Sans-I/O: the caller passes the time. A peer's score halves every `SCORE_HALF_LIFE_S`; at
`BAN_SCORE` the peer is banned, each time twice as long as the time before, within bounds.
"""

from dataclasses import dataclass
from typing import Final

GARBAGE: Final = 100
"""Points for what no honest node can send: a ban at once."""
REJECTED: Final = 30
"""Points for a message that its validator rejected."""
NUISANCE: Final = 5
"""Points for what a slow or outdated peer may do now and then."""

BAN_SCORE: Final = 100
SCORE_HALF_LIFE_S: Final = 60.0
BAN_S: Final = 60.0
BAN_S_MAX: Final = 3600.0
RECORDS_MAX: Final = 4096
"""Peers remembered; beyond it the one penalized longest ago is forgotten."""


@dataclass(slots=True)
class _Record:
    score: float = 0.0
    scored_at_s: float = 0.0
    bans: int = 0
    banned_until_s: float = 0.0


class Penalties:
    """Bookkeeping of one node; times are monotonic seconds."""

    def __init__(self) -> None:
        self._records: dict[bytes, _Record] = {}
        self.bans = 0
        """Bans since the start, past ones included."""

    def penalize(self, peer: bytes, points: int, now_s: float) -> bool:
        """Add points; True if this brought a ban about."""
        record = self._records.pop(peer, None) or _Record(scored_at_s=now_s)
        self._records[peer] = record
        if len(self._records) > RECORDS_MAX:
            del self._records[next(iter(self._records))]
        age_s = max(0.0, now_s - record.scored_at_s)
        record.score = record.score * 0.5 ** (age_s / SCORE_HALF_LIFE_S) + points
        record.scored_at_s = now_s
        if record.score < BAN_SCORE or now_s < record.banned_until_s:
            return False
        record.score = 0.0
        record.banned_until_s = now_s + min(BAN_S_MAX, BAN_S * 2 ** min(record.bans, 16))
        record.bans += 1
        self.bans += 1
        return True

    def is_banned(self, peer: bytes, now_s: float) -> bool:
        record = self._records.get(peer)
        return record is not None and now_s < record.banned_until_s
