"""The port between the RPC and the node behind it.

Reads answer from finalized state, the latest or that after the block at `height`; where that one is
not at hand they raise Unavailable(`height_pruned`) or Invalid(`unknown_block`). Methods raise
`Invalid` or `Unavailable`, whose codes reach the client unchanged; None means that there is no such
thing.
"""

from typing import Protocol

from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.committee import Committee
from p2p_aios.types.compute import JobId
from p2p_aios.types.genesis import Genesis
from p2p_aios.types.learning import Round, TaskId
from p2p_aios.types.proof import FinalityProof, StateProof
from p2p_aios.types.receipt import BlockOutcome
from p2p_aios.types.views import (
    AccountView,
    JobView,
    NodeStatus,
    PeerView,
    RoundView,
    SupplyView,
    TaskView,
    TransactionStatus,
    ValidatorView,
    WorkerView,
)
from p2p_aios.units import Address, Cid, Epoch, Hash, Height


class Backend(Protocol):
    """What the RPC asks of a node. Called from many tasks at once."""

    @property
    def chain_id(self) -> Hash: ...

    async def status(self) -> NodeStatus: ...

    async def peers(self) -> tuple[PeerView, ...]: ...

    async def genesis(self) -> Genesis: ...

    async def block_at(self, height: Height) -> FinalizedBlock | None:
        """The finalized block at `height`; there is none at 0."""
        ...

    async def height_of(self, block: Hash) -> Height | None:
        """Of a finalized block."""
        ...

    async def outcome_at(self, height: Height) -> BlockOutcome | None: ...

    async def submit(self, raw: bytes) -> Hash:
        """Admit a transaction to the mempool and spread it; returns its id.

        Raises Invalid with the admission's code; Unavailable(`mempool_full`, `node_syncing`).
        Submitting what already waits, or is final, returns the id again.
        """
        ...

    async def check_ahead(self, raws: tuple[bytes, ...]) -> None:
        """Check form and signature of what is about to be submitted, all at once.

        What is wrong with one of them is told when it is submitted.
        """
        ...

    async def transaction(self, id: Hash) -> TransactionStatus | None: ...

    async def account(self, address: Address, height: Height | None = None) -> AccountView:
        """An account nobody has used has balance 0 and nonce 0."""
        ...

    async def validators(
        self, after: Address | None, limit: int, height: Height | None = None
    ) -> tuple[ValidatorView, ...]:
        """This and all listings: ascending, those after `after`."""
        ...

    async def committee(
        self, epoch: Epoch | None, height: Height | None = None
    ) -> Committee | None:
        """Of the state's own epoch where none is named.

        Without a height, also one that the latest state forgot but an earlier one still knows.
        """
        ...

    async def supply(self, height: Height | None = None) -> SupplyView: ...

    async def workers(
        self, after: Address | None, limit: int, height: Height | None = None
    ) -> tuple[WorkerView, ...]: ...

    async def job(self, id: JobId, height: Height | None = None) -> JobView | None: ...

    async def jobs(
        self, after: JobId | None, limit: int, height: Height | None = None
    ) -> tuple[JobView, ...]:
        """Open ones."""
        ...

    async def closed_jobs(self, after: JobId | None, limit: int) -> tuple[JobView, ...]:
        """Settled and refunded ones, as of now: no state indexes them."""
        ...

    async def task(self, id: TaskId, height: Height | None = None) -> TaskView | None: ...

    async def tasks(
        self, after: TaskId | None, limit: int, height: Height | None = None
    ) -> tuple[TaskView, ...]:
        """Open ones, and those that finished last."""
        ...

    async def round(
        self, task: TaskId, round: Round, height: Height | None = None
    ) -> RoundView | None: ...

    async def rounds(
        self, task: TaskId, first: Round, limit: int, height: Height | None = None
    ) -> tuple[RoundView, ...] | None:
        """Rounds `first` and on; None where there is no such task."""
        ...

    async def prove_state(self, key: bytes, height: Height | None) -> StateProof:
        """At the last finalized block where no height is named.

        Raises Unavailable(`finality_unproven`), too.
        """
        ...

    async def prove_block(self, height: Height | None) -> FinalityProof:
        """Raises as `prove_state`; blocks are never pruned."""
        ...

    async def put_blob(self, data: bytes) -> Cid:
        """Keep `data` and tell peers who ask for it; raises Unavailable(`storage_full`)."""
        ...

    async def get_blob(self, cid: Cid) -> bytes | None:
        """From this node's own store, or pulled from its peers within their time-out."""
        ...

    async def has_blob(self, cid: Cid) -> bool:
        """Whether this node's own store holds it."""
        ...
