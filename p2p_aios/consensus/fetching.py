"""Asking members for missing certificates and blocks, and answering them."""

from typing import Final

from p2p_aios.consensus.candidates import RECENT_BLOCKS_MAX
from p2p_aios.consensus.events import CatchUp, Now, Refused
from p2p_aios.consensus.finality import heads
from p2p_aios.consensus.inquiries import Missing
from p2p_aios.consensus.instance import Instance
from p2p_aios.consensus.proposals import require_body
from p2p_aios.consensus.proposing import is_leading, parent_view_of
from p2p_aios.errors import Invalid
from p2p_aios.types.block import block_hash
from p2p_aios.types.message import (
    BACKFILL_BLOCKS_MAX,
    REQUEST_VIEWS_MAX,
    Backfill,
    RequestBlocks,
    RequestCertificates,
    fitting,
)
from p2p_aios.types.vote import Seat
from p2p_aios.units import Address, Hash, View

BLOCK_PATIENCE_MS: Final = 100
"""A notarized block usually arrives by itself: it was proposed a moment ago."""
CATCH_UP_ATTEMPTS: Final = 2
"""After this many unanswered requests for a final block's chain, members no longer have it."""


def wanted_views(x: Instance) -> list[View]:
    """Views whose certificates we need: to judge the current proposal, or to make one."""
    round_ = x.rounds.get(x.view)
    if round_ is not None and round_.proposal is not None:
        parent_view = round_.proposal.parent_view
        if parent_view < x.settled_view:
            return []
        return x.missing_certificates(parent_view, x.view)[-REQUEST_VIEWS_MAX:]
    if is_leading(x) and parent_view_of(x) is None:
        return x.missing_certificates(x.certified_view, x.view)[-REQUEST_VIEWS_MAX:]
    return []


def wanted_blocks(x: Instance) -> list[Hash]:
    """For each chain we need, its newest block that is not here."""
    missing = (x.candidates.branch(head)[1] for head in heads(x))
    return [block for block in dict.fromkeys(missing) if block is not None]


def inquire_if_due(x: Instance, now: Now) -> None:
    """Ask for what is missing, each thing of one member at a time, again after a while."""
    views, blocks = wanted_views(x), wanted_blocks(x)
    x.inquiries.drop_all_but(frozenset[Missing]((*views, *blocks)))
    x.inquiries.keep(views, 0, now.monotonic_ms)
    x.inquiries.keep(blocks, BLOCK_PATIENCE_MS, now.monotonic_ms)
    _ask_for_certificates(x, views, now)
    for block in blocks:
        attempts = x.inquiries.take_due(block, now.monotonic_ms)
        if attempts is None:
            continue
        peer = _whom_to_ask(x, attempts)
        if peer and (attempts >= CATCH_UP_ATTEMPTS or _is_far(x)):
            x.out.emit(CatchUp(peer[0]))
        if not _is_far(x):
            x.out.send(peer, RequestBlocks(block, BACKFILL_BLOCKS_MAX - 1))


def _is_far(x: Instance) -> bool:
    """Whether the gap below the finalized block we know of is longer than what members keep."""
    final = x.finalization.ballot.block if x.finalization is not None else x.base
    height = x.candidates.height(final)
    way, missing = x.candidates.branch(final)
    held = len(way) + x.candidates.tip.height
    return missing is not None and height is not None and height - held > RECENT_BLOCKS_MAX


def _ask_for_certificates(x: Instance, views: list[View], now: Now) -> None:
    due = [(v, a) for v in views if (a := x.inquiries.take_due(v, now.monotonic_ms)) is not None]
    if due:
        asked = tuple(view for view, _ in due)
        peer = _whom_to_ask(x, max(attempts for _, attempts in due))
        x.out.send(peer, RequestCertificates(x.epoch, asked))


def _whom_to_ask(x: Instance, attempts: int) -> tuple[Address, ...]:
    """One member: the view's leader first, who must hold what its proposal needs, then others in
    turn; those whose stream is down are passed over."""
    seats = len(x.roster.committee.members)
    order = [(x.leader() + step) % seats for step in range(seats)]
    up = [x.address(s) for s in order if s != x.seat and x.address(s) not in x.down]
    return (up[attempts % len(up)],) if up else ()


def answer_certificates(x: Instance, peer: Address, request: RequestCertificates) -> None:
    """Send what we hold of the views asked for. Below our finalization, that says it all."""
    if x.finalization is not None and min(request.views) < x.settled_view:
        x.out.send((peer,), x.finalization)
    for view in request.views:
        round_ = x.rounds.get(view)
        if round_ is not None and view >= x.settled_view:
            for certificate in round_.certificates.values():
                x.out.send((peer,), certificate)


def answer_blocks(x: Instance, peer: Address, request: RequestBlocks) -> None:
    """Send the block and its ancestors, as far as we hold them and a message has room."""
    found = x.candidates.serve(request.block, request.ancestors)
    if found:
        x.out.send((peer,), Backfill(fitting(found)))


def receive_backfill(x: Instance, seat: Seat, backfill: Backfill) -> None:
    """Take blocks that were asked for, and the ancestors that they name in turn."""
    for block in backfill.blocks:
        name = block_hash(block.header)
        if name not in wanted_blocks(x) or not x.inquiries.is_open(name):
            # Not asked for, or here by now; the rest may still fit.
            if x.candidates.get(name) is None:
                return
            continue
        try:
            require_body(block)
        except Invalid as error:
            x.out.emit(Refused(x.address(seat), error.code))
            return
        x.candidates.add(block)
        x.inquiries.keep(wanted_blocks(x), 0, 0)
