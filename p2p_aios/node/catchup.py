"""Catching up with peers that are ahead: carries the sync planner's wishes out.

A node asks its peers where they stand when it starts, when consensus says that messages cannot
bridge its gap, and when its own tip has not moved for a while; nodes without a seat also hear each
block by gossip. Blocks fetched are executed like any other and become final with their certificate.
"""

import logging
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
    GetStatus,
    Status,
    decode_response,
    encode_request,
)
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Height, Millis

POLL_S: Final = 1.0
"""How often to look whether peers must be asked where they stand."""
QUIET_MS: Final = 1_500
"""Our tip must not have moved for so long before they are asked."""
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
        self._moved_ms = Millis(0)
        self.heights: dict[bytes, Height] = {}
        """What connected peers last told of their finalized height."""

    @property
    def is_behind(self) -> bool:
        """Whether peers are known to be ahead by more than consensus will bridge."""
        return self._planner.is_behind(_now_ms())

    def moved(self) -> None:
        """Our tip moved, by whatever way."""
        self._moved_ms = _now_ms()
        tip = self._chain.tip
        self._post(TipFinalized(tip.height, tip.hash))

    async def ask_around(self) -> None:
        """Ask every connected peer where it stands."""
        peers = [connection.peer for connection in self._network.peers.connected()]
        for gone in set(self.heights) - set(peers):
            del self.heights[gone]
            self._post(PeerLost(gone))
        async with trio.open_nursery() as nursery:
            for peer in peers:
                nursery.start_soon(self._ask_status, peer)

    async def run(self) -> None:
        """Plan and fetch until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._poll)
            while True:
                now_ms = _now_ms()
                wake_ms = self._planner.wake_at_ms(now_ms)
                patience_s = POLL_S if wake_ms is None else max(0, wake_ms - now_ms) / 1000
                event: Event = Tick()
                with trio.move_on_after(patience_s):
                    event = await self._receive.receive()
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

    async def follow(self) -> None:
        """Hear blocks by gossip, for a node without a seat; until cancelled."""
        async for _ in await self._network.gossip.join(Topic.BLOCKS, self._hear):
            pass  # judged, and announced to the planner, while validating

    async def _poll(self) -> None:
        while True:
            if _now_ms() - self._moved_ms >= QUIET_MS:
                await self.ask_around()
            await trio.sleep(POLL_S)

    async def _hear(self, message: GossipMessage) -> Verdict:
        try:
            final = schema.decode(FinalizedBlock, message.data, BLOCK_BYTES_MAX)
        except Invalid:
            return Verdict.REJECT
        header = final.block.header
        certificate = final.certificate
        if certificate is None or certificate.ballot.block != block_hash(header):
            return Verdict.REJECT
        if header.height <= self._chain.tip.height:
            return Verdict.IGNORE
        with self._chain.state() as state:
            is_known_epoch = read_committee(state, header.epoch) is not None
        if is_known_epoch and not self._is_certified(certificate):
            return Verdict.REJECT
        self.heights[message.peer] = header.height
        self._post(PeerAnnounced(message.peer, header.height))
        if header.height == self._chain.tip.height + 1 and is_known_epoch:
            await self._deliver((final,))
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
        """Execute and finalize what follows our tip; its certificate is verified."""
        hashes = []
        for final in blocks:
            hash = block_hash(final.block.header)
            if final.block.header.height <= self._chain.tip.height:
                continue
            hashes.append(hash)
            if self._chain.candidate(hash) is None:
                await self._execute(final)
        certificate = blocks[-1].certificate
        if hashes and certificate is not None:
            await self._finality.finalize(hashes, certificate)

    async def _execute(self, final: FinalizedBlock) -> None:
        try:
            transactions = await self._transactions.check(final.block.transactions)
            await self._chain.execute(final.block, transactions)
        except Invalid as error:
            # A quorum signed it: either two thirds lie, or this node computes something else.
            height = final.block.header.height
            raise Corrupt("execution_diverged", f"finalized block {height}: {error}") from None

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
            log.warning("sync falls behind its events")


def _now_ms() -> Millis:
    return Millis(int(trio.current_time() * 1000))
