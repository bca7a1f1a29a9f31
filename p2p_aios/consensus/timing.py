"""The next moment at which something becomes due."""

from p2p_aios.consensus.events import Now
from p2p_aios.consensus.instance import Instance
from p2p_aios.consensus.pacing import build_lead
from p2p_aios.consensus.proposals import hold_until_ms
from p2p_aios.consensus.proposing import is_leading
from p2p_aios.types.vote import VoteKind


def next_deadline(x: Instance, now: Now) -> int | None:
    """Monotonic time of the earliest thing to come; None where only events can change anything."""
    moments = [
        x.rebroadcast_ms,
        x.listens_until_ms,
        *x.candidates.postponed_ms(),
        *_proposal_times(x, now),
    ]
    if x.signs and not x.has_own(VoteKind.NULLIFY, x.view):
        patience = x.patience_from_ms(now)
        moments += [patience + 2 * x.delta_ms(), patience + 3 * x.delta_ms()]
    inquiry = x.inquiries.next_ms()
    if inquiry is not None:
        moments.append(inquiry)
    return min((moment for moment in moments if moment > now.monotonic_ms), default=None)


def _proposal_times(x: Instance, now: Now) -> list[int]:
    if is_leading(x):
        slot = x.slot_ms(now)
        return [slot - build_lead(x.last_build_ms), slot]
    round_ = x.rounds.get(x.view)
    if round_ is not None and round_.proposal is not None:
        return [hold_until_ms(x, round_.proposal.block.header, now)]
    return []
