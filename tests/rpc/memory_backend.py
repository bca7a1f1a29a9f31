"""A node small enough for a test: real transactions, blocks and receipts, kept in memory.

Admission checks form, signature, chain, nonce and balance; `finalize` makes a block of what waits.
"""

from typing import TypeVar

from p2p_aios.codec.cid import cid_of
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.params import PRESETS
from p2p_aios.rpc.feed import Feed
from p2p_aios.rpc.projection import decode_transaction
from p2p_aios.types.block import (
    Block,
    FinalizedBlock,
    Header,
    block_hash,
    transactions_root,
)
from p2p_aios.types.committee import Committee, Member
from p2p_aios.types.compute import JobKind, SubmitJob
from p2p_aios.types.event import Event, JobSubmitted, TaskOpened, Transferred
from p2p_aios.types.genesis import Genesis, GenesisAccount, GenesisValidator, chain_id
from p2p_aios.types.learning import Score, SubmitTask, Verdict
from p2p_aios.types.proof import FinalityProof, StateProof
from p2p_aios.types.receipt import SUCCESS, BlockOutcome, Receipt, receipts_root
from p2p_aios.types.transaction import CheckedTransaction, Transfer, check_transaction
from p2p_aios.types.views import (
    AccountView,
    GatewayState,
    JobState,
    JobView,
    NodeStatus,
    PeerView,
    Phase,
    RoundView,
    SeatView,
    SupplyView,
    TaskView,
    TransactionState,
    TransactionStatus,
    ValidatorView,
    WorkerView,
)
from p2p_aios.units import AIOS, ZERO_HASH, Address, Amount, Cid, Epoch, Hash, Height, Millis, View

ALICE = KeyPair.from_secret(b"\x01" * 32)
BOB = KeyPair.from_secret(b"\x02" * 32)
VALIDATOR = KeyPair.from_secret(b"\x03" * 32)
FUNDS = Amount(1000 * AIOS)
GENESIS = Genesis(
    "memory",
    Millis(1_700_000_000_000),
    PRESETS["fast"],
    655 * 10**12,
    (GenesisValidator(ALICE.address, VALIDATOR.public_key, b"\x00peer", ZERO_HASH),),
    (GenesisAccount(ALICE.address, FUNDS),),
)


K = TypeVar("K", bound=bytes)
V = TypeVar("V")


class MemoryBackend:
    """Implements `p2p_aios.rpc.backend.Backend`."""

    def __init__(self) -> None:
        self.chain_id = chain_id(GENESIS)
        self.feed = Feed()
        self.balances: dict[Address, int] = {ALICE.address: FUNDS}
        self.nonces: dict[Address, int] = {}
        self.waiting: list[CheckedTransaction] = []
        self.checked_ahead: list[tuple[bytes, ...]] = []
        self.blocks: list[FinalizedBlock] = []
        self.outcomes: list[BlockOutcome] = []
        self.final: dict[Hash, TransactionStatus] = {}
        self.blobs: dict[Cid, bytes] = {}
        self.worker_views = {
            BOB.address: WorkerView(BOB.address, VALIDATOR.address, 2, 1, (JobKind.TRAIN,), False)
        }
        self.job_views: dict[Hash, JobView] = {}
        self.task_views: dict[Hash, TaskView] = {}
        self.round_views: dict[tuple[Hash, int], RoundView] = {}

    def finalize(self) -> FinalizedBlock:
        """One block of everything that waits."""
        batch, self.waiting = self.waiting, []
        receipts = tuple(self._apply(each) for each in batch)
        outcome = BlockOutcome(receipts, ())
        height = len(self.blocks) + 1
        parent = block_hash(self.blocks[-1].block.header) if self.blocks else self.chain_id
        raws = tuple(each.raw for each in batch)
        header = Header(
            chain_id=self.chain_id,
            height=Height(height),
            epoch=Epoch(0),
            view=View(height),
            parent=parent,
            timestamp_ms=Millis(GENESIS.timestamp_ms + 500 * height),
            proposer=VALIDATOR.address,
            reveal=ZERO_HASH,
            tx_root=transactions_root(raws),
            receipts_root=receipts_root(receipts, ()),
            state_root=ZERO_HASH,
            pash_root=ZERO_HASH,
            committee_hash=ZERO_HASH,
        )
        finalized = FinalizedBlock(Block(header, raws), None)
        self.blocks.append(finalized)
        self.outcomes.append(outcome)
        for each, receipt in zip(batch, receipts, strict=True):
            self.final[each.id] = _status(each, Height(height), receipt)
        self.feed.publish(finalized, outcome)
        return finalized

    def settle_round(self, task: Hash, round: int) -> None:
        """Pretend that contributors trained a round of `task`."""
        view = self.task_views[task]
        seat = SeatView(BOB.address, True, cid_of(b"update"), Verdict.ACCEPTED)
        model, score = cid_of(b"model %d" % round), Score(5 << 24, 90, 100)
        self.round_views[task, round] = RoundView(
            task,
            round,
            Phase.SETTLED,
            view.model,
            (seat,),
            None,
            (VALIDATOR.address,),
            model,
            score,
            Amount(5),
            None,
            Height(1),
            Height(2),
        )
        is_finished = round + 1 == view.specification.rounds
        self.task_views[task] = TaskView(
            task,
            view.submitter,
            view.specification,
            round,
            Phase.SETTLED,
            is_finished,
            model,
            score,
            view.remaining,
        )

    def _apply(self, transaction: CheckedTransaction) -> Receipt:
        body, sender = transaction.body, transaction.sender
        self.balances[sender] -= body.fee
        self.nonces[sender] = body.nonce + 1
        events: tuple[Event, ...] = ()
        match body.action:
            case Transfer(recipient, amount):
                if self.balances[sender] < amount:
                    return Receipt(transaction.id, "funds_missing", body.fee, ())
                self.balances[sender] -= amount
                self.balances[recipient] = self.balances.get(recipient, 0) + amount
                events = (Transferred(sender, recipient, amount),)
            case SubmitJob() as job:
                events = (JobSubmitted(transaction.id, sender),)
                self.job_views[transaction.id] = JobView(
                    transaction.id, sender, job, JobState.QUEUED, 0, None, None, None, None
                )
            case SubmitTask() as task:
                events = (TaskOpened(transaction.id, sender),)
                self.task_views[transaction.id] = TaskView(
                    transaction.id,
                    sender,
                    task,
                    0,
                    Phase.OPEN,
                    False,
                    task.base,
                    None,
                    task.budget,
                )
        return Receipt(transaction.id, SUCCESS, body.fee, events)

    async def status(self) -> NodeStatus:
        tip = self.blocks[-1].block.header if self.blocks else None
        return NodeStatus(
            "0.1.0",
            GENESIS.network,
            self.chain_id,
            VALIDATOR.address,
            Height(len(self.blocks)),
            block_hash(tip) if tip else self.chain_id,
            tip.timestamp_ms if tip else GENESIS.timestamp_ms,
            Epoch(0),
            View(len(self.blocks) + 1),
            False,
            1,
            len(self.waiting),
            GatewayState.ABSENT,
            Millis(12_345),
        )

    async def peers(self) -> tuple[PeerView, ...]:
        address = "/ip4/127.0.0.1/tcp/4001"
        return (PeerView("16Uiu2", address, None, True, Height(7), Millis(3)),)

    async def genesis(self) -> Genesis:
        return GENESIS

    async def block_at(self, height: Height) -> FinalizedBlock | None:
        return self.blocks[height - 1] if 0 < height <= len(self.blocks) else None

    async def height_of(self, block: Hash) -> Height | None:
        headers = [each.block.header for each in self.blocks]
        return next((header.height for header in headers if block_hash(header) == block), None)

    async def outcome_at(self, height: Height) -> BlockOutcome | None:
        return self.outcomes[height - 1]

    async def submit(self, raw: bytes) -> Hash:
        transaction = check_transaction(raw, self.chain_id)
        if transaction.id in self.final or transaction.id in [each.id for each in self.waiting]:
            return transaction.id
        account = await self.account(transaction.sender)
        if transaction.body.nonce != account.next_nonce:
            raise Invalid("nonce_wrong", f"the next is {account.next_nonce}")
        params = GENESIS.params
        if transaction.body.fee < params.fee_base + params.fee_per_byte * len(raw):
            raise Invalid("fee_too_low", "pay more")
        if account.balance < transaction.body.fee:
            raise Invalid("funds_missing", "the sender cannot pay the fee")
        self.waiting.append(transaction)
        return transaction.id

    async def check_ahead(self, raws: tuple[bytes, ...]) -> None:
        self.checked_ahead.append(raws)

    async def transaction(self, id: Hash) -> TransactionStatus | None:
        if id in self.final:
            return self.final[id]
        return next((_status(each, None, None) for each in self.waiting if each.id == id), None)

    async def account(self, address: Address, height: Height | None = None) -> AccountView:
        self._require_latest(height)
        nonce = self.nonces.get(address, 0)
        waiting = sum(each.sender == address for each in self.waiting)
        balance = Amount(self.balances.get(address, 0))
        return AccountView(address, balance, nonce, nonce + waiting, Height(len(self.blocks)))

    async def validators(
        self, after: Address | None, limit: int, height: Height | None = None
    ) -> tuple[ValidatorView, ...]:
        self._require_latest(height)
        peer = GENESIS.validators[0].peer_id
        key = VALIDATOR
        view = ValidatorView(key.address, ALICE.address, key.public_key, peer, 0, 100, 3, 0)
        return tuple(_page({key.address: view}, after, limit))

    async def committee(
        self, epoch: Epoch | None, height: Height | None = None
    ) -> Committee | None:
        self._require_latest(height)
        if epoch not in (None, 0):
            return None
        peer = GENESIS.validators[0].peer_id
        member = Member(VALIDATOR.address, VALIDATOR.public_key, peer, 100)
        return Committee(Epoch(0), (member,), ZERO_HASH)

    async def supply(self, height: Height | None = None) -> SupplyView:
        self._require_latest(height)
        target = Amount(1000 * GENESIS.dormant_sat)
        zero = Amount(0)
        return SupplyView(
            Height(len(self.blocks)),
            GENESIS.dormant_sat,
            target,
            FUNDS,
            Amount(target - FUNDS),
            zero,
            zero,
            zero,
            Amount(13 * AIOS),
            zero,
            True,
        )

    async def workers(
        self, after: Address | None, limit: int, height: Height | None = None
    ) -> tuple[WorkerView, ...]:
        self._require_latest(height)
        return tuple(_page(self.worker_views, after, limit))

    async def job(self, id: Hash, height: Height | None = None) -> JobView | None:
        self._require_latest(height)
        return self.job_views.get(id)

    async def jobs(
        self, after: Hash | None, limit: int, height: Height | None = None
    ) -> tuple[JobView, ...]:
        self._require_latest(height)
        return tuple(_page(self._jobs(JobState.QUEUED, JobState.ASSIGNED), after, limit))

    async def closed_jobs(self, after: Hash | None, limit: int) -> tuple[JobView, ...]:
        return tuple(_page(self._jobs(JobState.SETTLED, JobState.REFUNDED), after, limit))

    def _jobs(self, *states: JobState) -> dict[Hash, JobView]:
        return {id: view for id, view in self.job_views.items() if view.state in states}

    async def task(self, id: Hash, height: Height | None = None) -> TaskView | None:
        self._require_latest(height)
        return self.task_views.get(id)

    async def tasks(
        self, after: Hash | None, limit: int, height: Height | None = None
    ) -> tuple[TaskView, ...]:
        self._require_latest(height)
        return tuple(_page(self.task_views, after, limit))

    async def round(self, task: Hash, round: int, height: Height | None = None) -> RoundView | None:
        self._require_latest(height)
        return self.round_views.get((task, round))

    async def rounds(
        self, task: Hash, first: int, limit: int, height: Height | None = None
    ) -> tuple[RoundView, ...] | None:
        self._require_latest(height)
        if task not in self.task_views:
            return None
        numbers = sorted(n for of, n in self.round_views if of == task and n >= first)
        return tuple(self.round_views[task, number] for number in numbers[:limit])

    async def prove_state(self, key: bytes, height: Height | None) -> StateProof:
        raise Unavailable("height_pruned", f"no trie in memory: {key.hex()} at {height}")

    async def prove_block(self, height: Height | None) -> FinalityProof:
        raise Unavailable("finality_unproven", f"no certificates in memory: {height}")

    def _require_latest(self, height: Height | None) -> None:
        if height not in (None, len(self.blocks)):
            raise Unavailable("height_pruned", "a node in memory knows the latest state only")

    async def put_blob(self, data: bytes) -> Cid:
        cid = cid_of(data)
        self.blobs[cid] = data
        return cid

    async def get_blob(self, cid: Cid) -> bytes | None:
        return self.blobs.get(cid)

    async def has_blob(self, cid: Cid) -> bool:
        return cid in self.blobs


def _page(views: dict[K, V], after: K | None, limit: int) -> list[V]:
    return [views[id] for id in sorted(views) if after is None or id > after][:limit]


def _status(
    transaction: CheckedTransaction, height: Height | None, receipt: Receipt | None
) -> TransactionStatus:
    state = TransactionState.FINALIZED if receipt else TransactionState.PENDING
    signed = decode_transaction(transaction.raw)
    return TransactionStatus(transaction.id, state, signed, height, receipt)
