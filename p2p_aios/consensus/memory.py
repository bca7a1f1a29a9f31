"""What a journal can vouch for: in which epochs its owner may sign (DESIGN §6, "Durability").

Whoever signs without remembering all that its key signed in the epoch may sign against itself. A
journal can be lost, and it forgets what is final on disk, which can be lost while the journal is
kept: an operator moves a damaged chain away, and the node fetches it anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from p2p_aios.consensus.events import Anchor, Term
from p2p_aios.consensus.records import Forgotten, JournalBirth, Position, Record, position_of
from p2p_aios.errors import Corrupt
from p2p_aios.params import Params
from p2p_aios.types.block import Proposal
from p2p_aios.units import Epoch, Hash, View

JOINING_MS: Final = 5_000
"""How long a journal born on an old network listens before it signs: the chain that its owner may
have lost is told of by the first peers that answer."""
FOUNDING_MS: Final = 30_000
"""How far apart founders may start and still sign in the first epoch, all of them."""
_NOTHING: Final[Position] = (Epoch(0), View(0))


@dataclass(frozen=True, slots=True)
class Memory:
    """A journal, as far as it matters where what it holds says nothing."""

    birth: JournalBirth | None
    """None where there is no journal: then nothing is signed."""
    forgotten: Position
    """What was signed up to here may be in it no more."""
    is_empty: bool

    def covers(self, term: Term, tip: Anchor, params: Params) -> bool:
        """Whether the journal surely holds all that this key signed in the epoch above `tip`.

        It does where the epoch began after the journal was created, with room for two clocks that
        differ; and where journal and chain began together.
        """
        if self.birth is None or self.forgotten > _position_of(tip, term):
            return False
        if term.committee.epoch == 0 and self.birth.height == 0:
            # Unless the chain turns out to be much the older one.
            apart_ms = min(FOUNDING_MS, _epoch_ms(params))
            return tip.height == 0 or tip.timestamp_ms >= self.birth.wall_ms - apart_ms
        return term.started_ms >= self.birth.wall_ms + 2 * params.clock_skew_ms

    def joining_ms(self, term: Term, tip: Anchor, params: Params) -> int:
        """How long to listen before the first signature: at the start of a chain whose first epoch
        may be over by now, so that ours may just be lost."""
        if self.birth is None or not self.is_empty or tip.height > 0:
            return 0
        return JOINING_MS if self.birth.wall_ms >= term.started_ms + _epoch_ms(params) else 0


def memory_of(records: Sequence[Record], birth: JournalBirth | None, chain_id: Hash) -> Memory:
    """The memory of a journal with these records.

    Raises Corrupt(`journal_foreign`) for one of another chain: its votes and certificates say
    nothing here, and look as if they did.
    """
    for record in records:
        if isinstance(record, Proposal) and record.block.header.chain_id != chain_id:
            raise Corrupt("journal_foreign", "the journal is another chain's: move it away")
    forgotten = (position_of(record) for record in records if isinstance(record, Forgotten))
    return Memory(birth, max(forgotten, default=_NOTHING), not records)


def _epoch_ms(params: Params) -> int:
    """The least time an epoch takes."""
    return params.epoch_blocks * params.block_interval_ms


def _position_of(tip: Anchor, term: Term) -> Position:
    """The last position of the term's epoch that is settled below the tip."""
    epoch = term.committee.epoch
    if tip.certificate is None or tip.certificate.ballot.epoch < epoch:
        return epoch, View(0)
    return epoch, tip.certificate.ballot.view
