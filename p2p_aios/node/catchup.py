"""Catching up with peers that are ahead: carries the sync planner's wishes out.

A node asks its peers where they stand when it starts, when consensus says that messages cannot
bridge its gap, and when its own tip has not moved for a while, ever less often where nobody is
ahead; nodes without a seat also hear each block by gossip. Blocks fetched are executed like any
other and become final with their certificate. One task does that, whichever way they came: what
fails there is this node's own fault, and ends it.
"""

import logging
import math
from typing import Final, assert_never

import trio

from p2p_aios.codec import schema
from p2p_aios.consensus.committee import verify_certificate
from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.ledger.queries import read_committee
from p2p_aios.network.gossip import GossipMessage, Topic
from p2p_aios.network.identity import format_peer
from p2p_aios.network.node import Network
from p2p_aios.network.penalties import GARBAGE
from p2p_aios.network.pubsub import Verdict
from p2p_aios.node.chain import Chain
from p2p_aios.node.finality import Finality
from p2p_aios.node.transactions import Transactions
from p2p_aios.sync.answers import check_answer
from p2p_aios.sync.events import (
    Ask,
    BlocksReceived,
    Deliver,
    Event,
    PeerAnnounced,
    PeerLost,
    Penalize,
    RequestFailed,
    Tick,
    TipFinalized,
)
from p2p_aios.sync.planner import REQUEST_TIMEOUT_MS, SyncPlanner
from p2p_aios.types.block import BLOCK_BYTES_MAX, FinalizedBlock, block_hash
from p2p_aios.types.request import (
    RESPONSE_BYTES_MAX,
    Blocks,
    GetBlocks,
    GetStatus,
    Status,
    decode_response,
    encode_request,
)
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Hash, Height, Millis

POLL_S: Final = 1.0
"""How often to look whether peers must be asked where they stand."""
QUIET_MS: Final = 1_500
"""Our tip must not have moved for so long before they are asked."""
PAUSE_S_MAX: Final = 8.0
"""Longest time until they are asked again: it doubles while nobody is ahead. What keeps a chain
from moving may be want of processor time, of which each question takes some."""
STATUS_S_MAX: Final = 3.0
EVENTS_MAX: Final = 256

log = logging.getLogger(__name__)


class CatchUp:
    """The planner, fed and obeyed."""

    def __init__(
        self, chain: Chain, network: Network, transactions: Transactions, finality: Finality
    ) -> None:
        self._chain = chain
        self._network = network
        self._transactions = transactions
        self._finality = finality
        self._send, self._receive = trio.open_memory_channel[Event](EVENTS_MAX)
        tip = chain.tip
        self._planner = SyncPlanner(tip.height, tip.hash, self._is_certified, _now_ms())
        self._told = tip.hash
        """The tip as the planner knows it."""
        self._moved_ms = Millis(0)
        self._heard: FinalizedBlock | None = None
        """The tip's child, heard by gossip, checked, and not yet executed."""
        self._heard_last: Hash | None = None
        self._asking = False
        self.heights: dict[bytes, Height] = {}
        """What connected peers last told of their finalized height."""

    @property
    def is_behind(self) -> bool:
        """Whether peers are known to be ahead by more than consensus will bridge."""
        return self._planner.is_behind(_now_ms())

    def moved(self) -> None:
        """Our tip moved, by whatever way."""
        self._moved_ms = _now_ms()
        self._post(Tick())

    async def ask_around(self) -> None:
        """Ask every connected peer where it stands, unless they are being asked already."""
        if self._asking:
            return
        self._asking = True
        try:
            async with trio.open_nursery() as nursery:
                for connection in self._network.peers.connected():
                    nursery.start_soon(self._ask_status, connection.peer)
        finally:
            self._asking = False

    async def run(self) -> None:
        """Plan and fetch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._poll)
            while True:
                event = await self._next_event()
                for output in self._planner.step(event, _now_ms()):
                    match output:
                        case Ask():
                            nursery.start_soon(self._fetch, output)
                        case Penalize(peer=peer, code=code):
                            self._network.host.penalize(peer, GARBAGE, code)
                        case Deliver(blocks=blocks):
                            await self._deliver(blocks)
                        case other:
                            assert_never(other)
                heard, self._heard = self._heard, None
                if heard is not None:
                    await self._deliver((heard,))

    async def _next_event(self) -> Event:
        """What the planner must know next; where the tip is comes first, and is never lost."""
        tip = self._chain.tip
        if tip.hash != self._told:
            self._told = tip.hash
            return TipFinalized(tip.height, tip.hash)
        now_ms = _now_ms()
        wake_ms = self._planner.wake_at_ms(now_ms)
        patience_s = POLL_S if wake_ms is None else max(0, wake_ms - now_ms) / 1000
        with trio.move_on_after(patience_s):
            return await self._receive.receive()
        return Tick()

    async def follow(self) -> None:
        """Hear blocks by gossip, for a node without a seat; until cancelled."""
        async for _ in await self._network.gossip.join(Topic.BLOCKS, self._hear):
            pass  # judged, and announced to the planner, while validating

    async def _poll(self) -> None:
        asked_s, pause_s = -math.inf, POLL_S
        while True:
            self._forget_gone()
            is_quiet = _now_ms() - self._moved_ms >= QUIET_MS
            if not is_quiet or self._may_lag():
                pause_s = POLL_S
            if is_quiet and trio.current_time() - asked_s >= pause_s:
                asked_s, pause_s = trio.current_time(), min(2 * pause_s, PAUSE_S_MAX)
                await self.ask_around()
            await trio.sleep(POLL_S)

    def _may_lag(self) -> bool:
        """Whether a connected peer is ahead, or has yet to tell where it stands."""
        beyond = self._chain.tip.height + 1
        connections = self._network.peers.connected()
        return any(self.heights.get(each.peer, beyond) >= beyond for each in connections)

    def _forget_gone(self) -> None:
        connected = {connection.peer for connection in self._network.peers.connected()}
        for gone in self.heights.keys() - connected:
            del self.heights[gone]
            self._post(PeerLost(gone))

    async def _hear(self, message: GossipMessage) -> Verdict:
        """Judge a block that is said to be final; it is executed elsewhere."""
        try:
            final = schema.decode(FinalizedBlock, message.data, BLOCK_BYTES_MAX)
            height = final.block.header.height
            (digest,) = check_answer(GetBlocks(height, 1), (final,))
        except Invalid:
            return Verdict.REJECT
        tip = self._chain.tip
        if final.certificate is None or height == 0:
            return Verdict.REJECT
        if height <= tip.height or digest == self._heard_last:
            return Verdict.IGNORE
        if not self._knows_committee(final.certificate):
            # Nothing here can be checked yet, so nothing is believed or passed on.
            return Verdict.IGNORE
        if not self._is_certified(final.certificate):
            return Verdict.REJECT
        self._heard_last = digest
        self.heights[message.peer] = height
        self._post(PeerAnnounced(message.peer, height))
        if final.block.header.parent == tip.hash:
            self._heard = final
        return Verdict.ACCEPT

    async def _ask_status(self, peer: bytes) -> None:
        try:
            answer = await self._network.requests.request(
                peer,
                encode_request(GetStatus()),
                deadline_s=STATUS_S_MAX,
                bytes_max=RESPONSE_BYTES_MAX,
            )
            status = decode_response(answer)
        except (Invalid, Unavailable) as error:
            log.debug("peer=%s status: %s", format_peer(peer), error)
            return
        if isinstance(status, Status):
            self.heights[peer] = status.height
            self._post(PeerAnnounced(peer, status.height))

    async def _fetch(self, ask: Ask) -> None:
        event: Event = RequestFailed(ask.peer, ask.number)
        try:
            answer = await self._network.requests.request(
                ask.peer,
                encode_request(ask.request),
                deadline_s=REQUEST_TIMEOUT_MS / 1000,
                bytes_max=RESPONSE_BYTES_MAX,
            )
            response = decode_response(answer)
            if isinstance(response, Blocks):
                event = BlocksReceived(ask.peer, ask.number, response.blocks)
        except (Invalid, Unavailable) as error:
            log.debug("peer=%s blocks: %s", format_peer(ask.peer), error)
        await self._send.send(event)

    async def _deliver(self, blocks: tuple[FinalizedBlock, ...]) -> None:
        """Execute and finalize what follows our tip; its certificate is verified.

        Raises Corrupt(`execution_diverged`).
        """
        hashes = []
        for final in blocks:
            if final.block.header.height <= self._chain.tip.height:
                continue
            hashes.append(block_hash(final.block.header))
            if self._chain.candidate(hashes[-1]) is None:
                await self._execute(final)
        certificate = blocks[-1].certificate
        if certificate is not None:
            await self._finality.finalize(hashes, certificate)

    async def _execute(self, final: FinalizedBlock) -> None:
        height = final.block.header.height
        try:
            transactions = await self._transactions.check(final.block.transactions)
            await self._chain.execute(final.block, transactions)
        except Invalid as error:
            # A quorum signed it: either two thirds lie, or this node computes something else.
            raise Corrupt("execution_diverged", f"finalized block {height}: {error}") from None
        except Unavailable:
            # Consensus may have been faster.
            if height > self._chain.tip.height:
                raise

    def _knows_committee(self, certificate: Certificate) -> bool:
        with self._chain.state() as state:
            return read_committee(state, certificate.ballot.epoch) is not None

    def _is_certified(self, certificate: Certificate) -> bool:
        with self._chain.state() as state:
            committee = read_committee(state, certificate.ballot.epoch)
        if committee is None:
            return False
        try:
            verify_certificate(committee, self._chain.chain_id, certificate)
        except Invalid:
            return False
        return True

    def _post(self, event: Event) -> None:
        try:
            self._send.send_nowait(event)
        except trio.WouldBlock:
            # It will ask again; the tip itself is looked at whatever is lost here.
            log.warning("sync falls behind its events")


def _now_ms() -> Millis:
    return Millis(int(trio.current_time() * 1000))
