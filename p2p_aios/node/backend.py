"""What the RPC sees of the node (`p2p_aios.rpc.backend.Backend`)."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

import trio

import p2p_aios
from p2p_aios.codec import schema
from p2p_aios.errors import Invalid
from p2p_aios.ledger.projection import (
    project_job,
    project_open_jobs,
    project_round,
    project_rounds,
    project_supply,
    project_task,
    project_tasks,
    project_validators,
    project_workers,
    view_job,
)
from p2p_aios.ledger.queries import read_account, read_chain
from p2p_aios.ledger.records import JobStatus
from p2p_aios.ledger.state import StateReader
from p2p_aios.ledger.tables import JOBS
from p2p_aios.network.identity import format_peer
from p2p_aios.node.chain import FinalizedState
from p2p_aios.node.history import HistoricalState, find_committee, prove_finality, prove_state
from p2p_aios.node.parts import Parts
from p2p_aios.store.snapshot import Snapshot
from p2p_aios.types.block import BLOCK_BYTES_MAX, Block, FinalizedBlock
from p2p_aios.types.committee import Committee
from p2p_aios.types.compute import JobId
from p2p_aios.types.genesis import Genesis
from p2p_aios.types.learning import Round, TaskId
from p2p_aios.types.proof import FinalityProof, StateProof
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.transaction import TRANSACTION_BYTES_MAX, Transaction, check_transaction
from p2p_aios.types.views import (
    AccountView,
    GatewayState,
    JobView,
    NodeStatus,
    PeerView,
    RoundView,
    SupplyView,
    TaskView,
    TransactionState,
    TransactionStatus,
    ValidatorView,
    WorkerView,
)
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Address, Cid, Epoch, Hash, Height, Millis, View

OUTCOME_BYTES_MAX = 64 << 20
"""Decoder's bound on outcomes of our own store."""

T = TypeVar("T")
Proof = TypeVar("Proof", FinalityProof, StateProof)


class NodeBackend:
    """Reads answer from the finalized state; writes go to the mempool and the blob store."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._chain = parts.chain
        self._started_s = trio.current_time()

    @property
    def chain_id(self) -> Hash:
        return self._chain.chain_id

    async def status(self) -> NodeStatus:
        tip, voting = self._chain.tip, self._parts.voting
        return NodeStatus(
            version=p2p_aios.__version__,
            network=self._chain.genesis.network,
            chain_id=self._chain.chain_id,
            validator=None if self._parts.key is None else self._parts.key.address,
            height=tip.height,
            block=tip.hash,
            timestamp_ms=tip.timestamp_ms,
            epoch=tip.epoch if voting is None else voting.core.epoch,
            view=View(0) if voting is None else View(voting.core.view),
            is_syncing=self._parts.catchup.is_behind,
            peers=len(self._parts.network.peers.connected()),
            waiting=len(self._parts.transactions.mempool),
            gateway=self._gateway_state(),
            uptime_ms=Millis(int((trio.current_time() - self._started_s) * 1000)),
        )

    async def peers(self) -> tuple[PeerView, ...]:
        heights = self._parts.catchup.heights
        return tuple(
            PeerView(
                peer_id=format_peer(connection.peer),
                address=connection.remote,
                validator=self._parts.committee.address_of(connection.peer),
                is_inbound=connection.direction == "inbound",
                height=heights.get(connection.peer),
                round_trip_ms=None
                if connection.rtt_ms is None
                else Millis(round(connection.rtt_ms)),
            )
            for connection in self._parts.network.peers.connected()
        )

    async def genesis(self) -> Genesis:
        return self._chain.genesis

    async def block_at(self, height: Height) -> FinalizedBlock | None:
        return await trio.to_thread.run_sync(self._read_block, height)

    async def height_of(self, block: Hash) -> Height | None:
        return self._chain.store.find_block(block)

    async def outcome_at(self, height: Height) -> BlockOutcome | None:
        stored = self._chain.store.read_outcome(height) if height > 0 else None
        if stored is None:
            return None
        return schema.decode(BlockOutcome, stored, OUTCOME_BYTES_MAX)

    async def submit(self, raw: bytes) -> Hash:
        try:
            return await self._parts.transactions.submit(raw)
        except Invalid as error:
            if error.code != "nonce_too_low":
                raise
            # What is final already is no fault of a client that sends it again.
            id = check_transaction(raw, self._chain.chain_id).id
            if self._chain.store.find_transaction(id) is None:
                raise
            return id

    async def check_ahead(self, raws: tuple[bytes, ...]) -> None:
        await self._parts.transactions.check_ahead(raws)

    async def transaction(self, id: Hash) -> TransactionStatus | None:
        waiting = self._parts.transactions.mempool.get(id)
        if waiting is not None:
            pending = schema.decode(Transaction, waiting.raw, TRANSACTION_BYTES_MAX)
            return TransactionStatus(id, TransactionState.PENDING, pending, None, None)
        place = self._chain.store.find_transaction(id)
        block = None if place is None else self._read_block(place.height)
        outcome = None if place is None else await self.outcome_at(place.height)
        if place is None or block is None or outcome is None:
            return None
        raw = block.block.transactions[place.index]
        return TransactionStatus(
            id,
            TransactionState.FINALIZED,
            schema.decode(Transaction, raw, TRANSACTION_BYTES_MAX),
            place.height,
            outcome.receipts[place.index],
        )

    async def account(self, address: Address, height: Height | None = None) -> AccountView:
        def project(state: StateReader) -> AccountView:
            account = read_account(state, address)
            at = read_chain(state).height
            return AccountView(address, account.balance, account.nonce, account.nonce, at)

        view = await self._read(height, project)
        if height is not None:
            return view
        pending = self._parts.transactions.mempool.pending_nonce(address, view.nonce)
        return replace(view, next_nonce=pending)

    async def validators(
        self, after: Address | None, limit: int, height: Height | None = None
    ) -> tuple[ValidatorView, ...]:
        params = self._chain.params
        return await self._read(
            height, lambda state: project_validators(state, params, after, limit)
        )

    async def committee(
        self, epoch: Epoch | None, height: Height | None = None
    ) -> Committee | None:
        with self._chain.snapshot() as snapshot:
            return find_committee(snapshot, self._chain.params, epoch, height)

    async def supply(self, height: Height | None = None) -> SupplyView:
        return await self._read(height, project_supply)

    async def workers(
        self, after: Address | None, limit: int, height: Height | None = None
    ) -> tuple[WorkerView, ...]:
        return await self._read(height, lambda state: project_workers(state, after, limit))

    async def job(self, id: JobId, height: Height | None = None) -> JobView | None:
        return await self._read(height, lambda state: project_job(state, id))

    async def jobs(
        self, after: JobId | None, limit: int, height: Height | None = None
    ) -> tuple[JobView, ...]:
        return await self._read(height, lambda state: project_open_jobs(state, after, limit))

    async def closed_jobs(self, after: JobId | None, limit: int) -> tuple[JobView, ...]:
        return await trio.to_thread.run_sync(self._closed_jobs, after, limit)

    async def task(self, id: TaskId, height: Height | None = None) -> TaskView | None:
        return await self._read(height, lambda state: project_task(state, id))

    async def tasks(
        self, after: TaskId | None, limit: int, height: Height | None = None
    ) -> tuple[TaskView, ...]:
        return await self._read(height, lambda state: project_tasks(state, after, limit))

    async def round(
        self, task: TaskId, round: Round, height: Height | None = None
    ) -> RoundView | None:
        return await self._read(height, lambda state: project_round(state, task, round))

    async def rounds(
        self, task: TaskId, first: Round, limit: int, height: Height | None = None
    ) -> tuple[RoundView, ...] | None:
        return await self._read(height, lambda state: project_rounds(state, task, first, limit))

    async def prove_state(self, key: bytes, height: Height | None) -> StateProof:
        return await trio.to_thread.run_sync(self._prove, partial(prove_state, key=key), height)

    async def prove_block(self, height: Height | None) -> FinalityProof:
        return await trio.to_thread.run_sync(self._prove, prove_finality, height)

    async def put_blob(self, data: bytes) -> Cid:
        return await self._parts.blobs.put(data)

    async def get_blob(self, cid: Cid) -> bytes | None:
        return await self._parts.blobs.find(cid)

    async def has_blob(self, cid: Cid) -> bool:
        return await trio.to_thread.run_sync(self._parts.blobs.store.has, cid)

    async def _read(self, height: Height | None, project: Callable[[StateReader], T]) -> T:
        """`project` of the finalized state after that block, by default the last."""

        def read() -> T:
            with self._chain.snapshot() as snapshot:
                if height is None:
                    return project(FinalizedState(snapshot))
                return project(HistoricalState(snapshot, height))

        if height is None:
            return read()
        # The past is found by walks down its trie, record by record: a listing takes a while.
        return await trio.to_thread.run_sync(read)

    def _closed_jobs(self, after: JobId | None, limit: int) -> tuple[JobView, ...]:
        views: list[JobView] = []
        first = JOBS.prefix if after is None else JOBS.prefix + after + b"\x00"
        with self._chain.snapshot() as snapshot:
            # Open ones are passed over, and there are at most JOBS_OPEN_MAX of them.
            for _, value in snapshot.state_items(JOBS.prefix, first):
                job = JOBS.decode(value)
                if job.status in (JobStatus.SETTLED, JobStatus.REFUNDED):
                    views.append(view_job(job))
                if len(views) == limit:
                    break
        return tuple(views)

    def _prove(self, prover: Callable[..., Proof], height: Height | None) -> Proof:
        with self._chain.snapshot() as snapshot:
            return prover(snapshot, height=_height_of(snapshot) if height is None else height)

    def _read_block(self, height: Height) -> FinalizedBlock | None:
        if height == 0:
            return None
        with self._chain.snapshot() as snapshot:
            block = snapshot.read_block(height)
            certificate = snapshot.read_certificate(height)
        if block is None:
            return None
        return FinalizedBlock(
            schema.decode(Block, block, BLOCK_BYTES_MAX),
            None if certificate is None else schema.decode(Certificate, certificate),
        )

    def _gateway_state(self) -> GatewayState:
        if self._parts.gateway is None:
            return GatewayState.ABSENT
        status = self._parts.gateway.status()
        if status.is_up:
            return GatewayState.READY
        return GatewayState.STARTING if status.restarts == 0 else GatewayState.DOWN


def _height_of(snapshot: Snapshot) -> Height:
    tip = snapshot.tip()
    return Height(0) if tip is None else tip.height
