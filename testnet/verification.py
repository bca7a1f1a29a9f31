"""`aios verify round`: recompute what the chain recorded of a round, from content addresses.

The node asked is trusted for one thing, which blocks are final. The round's events are held against
the receipts root and hash of their blocks; base model, updates and test shard are fetched by CID
and checked against it; then `compute.judge` repeats the panel's work and results are compared.
"""

from dataclasses import dataclass
from typing import Final

from compute.judge import Verification, verify_round
from p2p_aios.errors import Invalid
from p2p_aios.sdk import Client
from p2p_aios.types.block import block_hash
from p2p_aios.types.event import AttestOpened, Event, RoundSettled, UpdateRefused
from p2p_aios.types.learning import TaskId, Verdict, refusal_code
from p2p_aios.types.receipt import receipts_root
from p2p_aios.types.views import BlockView, RoundView
from p2p_aios.units import Cid, Height

BLOCKS_MAX: Final = 4096
"""Longest round looked through."""


@dataclass(frozen=True, slots=True)
class RoundRecord:
    """What the chain says of one settled round."""

    opened: AttestOpened
    refused: tuple[UpdateRefused, ...]
    settled: RoundSettled


async def verify_settled_round(client: Client, task: TaskId, round: int) -> Verification:
    """Recompute a round through any node's RPC.

    Raises Invalid: `round_unsettled`, `block_mismatch`, `blob_mismatch`, and the node's own
    refusals; Unavailable(`blob_unavailable`).
    """
    specification = (await client.task(task)).specification
    record = await _read_record(client, await client.round(task, round))
    named = [record.opened.base, specification.test_shard]
    unserved = refusal_code(Verdict.UNAVAILABLE)
    missing = {refused.worker for refused in record.refused if refused.code == unserved}
    named += [each.update for each in record.opened.updates if each.worker not in missing]
    blobs: dict[Cid, bytes] = {cid: await client.get_blob(cid) for cid in dict.fromkeys(named)}
    return verify_round(specification, record.opened, record.refused, record.settled, blobs)


async def _read_record(client: Client, view: RoundView) -> RoundRecord:
    if view.closed is None or view.code is not None:
        raise Invalid(
            "round_unsettled",
            f"round {view.round} is {view.phase.name.lower()}; only settled ones can be recomputed",
        )
    last = min(view.closed, view.opened + BLOCKS_MAX)
    events: list[Event] = []
    for height in range(view.opened, last + 1):
        block = await client.block(Height(height), has_outcome=True)
        events += _checked_events(block, Height(height))
    mine = [e for e in events if getattr(e, "task", None) == view.task]
    of_round = [event for event in mine if getattr(event, "round", None) == view.round]
    opened = [event for event in of_round if isinstance(event, AttestOpened)]
    settled = [event for event in of_round if isinstance(event, RoundSettled)]
    refused = tuple(event for event in of_round if isinstance(event, UpdateRefused))
    if not opened or not settled:
        raise Invalid("round_unsettled", f"the blocks of round {view.round} do not settle it")
    return RoundRecord(opened[-1], refused, settled[-1])


def _checked_events(block: BlockView, height: Height) -> list[Event]:
    """A block's events, which its header commits to; raises Invalid(`block_mismatch`)."""
    header = block.header
    if header.height != height or block_hash(header) != block.hash or block.outcome is None:
        raise Invalid("block_mismatch", f"the node's block {height} is not what its hash names")
    receipts, events = block.outcome.receipts, block.outcome.events
    if receipts_root(receipts, events) != header.receipts_root:
        raise Invalid("block_mismatch", f"the events of block {height} are not those it commits to")
    return [event for receipt in receipts for event in receipt.events] + list(events)
