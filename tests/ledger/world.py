"""A chain in a dictionary: four validators, some accounts, blocks executed one after the other."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from p2p_aios.codec.cid import cid_of
from p2p_aios.crypto.beacon import BeaconChain, beacon_chain
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.ledger.accounts import fee_min
from p2p_aios.ledger.audit import audit_supply
from p2p_aios.ledger.environment import BlockContext, epoch_of
from p2p_aios.ledger.execute import BuiltBlock, Execution, build_block, execute_block
from p2p_aios.ledger.genesis import genesis_state
from p2p_aios.ledger.queries import read_account, read_beacon_position, read_round
from p2p_aios.ledger.records import LearningRound
from p2p_aios.params import MAINNET, Params
from p2p_aios.types.compute import JobKind, RegisterWorker
from p2p_aios.types.event import Event
from p2p_aios.types.genesis import Genesis, GenesisAccount, GenesisValidator, chain_id
from p2p_aios.types.learning import (
    Activation,
    AttestRound,
    CommitUpdate,
    ModelKind,
    ModelSpec,
    RevealUpdate,
    Rule,
    Score,
    SubmitTask,
    TrainingPlan,
    Verdict,
    update_commitment,
)
from p2p_aios.types.transaction import (
    Action,
    CheckedTransaction,
    TransactionBody,
    sign_transaction,
)
from p2p_aios.units import AIOS, ZERO_HASH, Address, Amount, Cid, Hash, Height, Millis
from tests.ledger.books import Books

PARAMS = replace(
    MAINNET,
    epoch_blocks=10,
    era_epochs=4,
    beacon_chain_length=4096,
    evidence_epochs=3,
    reveal_blocks_min=2,
    attest_blocks_min=2,
)
FUNDS = Amount(1000 * AIOS)
DORMANT_SAT = 10**9
FEE = Amount(AIOS // 100)
"""Ample, but for tasks of many rounds or seats."""
FEE_BYTES = 1024
SCORE = Score(loss=123, correct=9, rows=10)


def key(name: str) -> KeyPair:
    """A key that anyone can make again from its name."""
    return KeyPair.from_secret(sha256(name.encode()))


def cid(name: str) -> Cid:
    return cid_of(name.encode())


VALIDATORS = sorted((key(f"validator {i}") for i in range(4)), key=lambda k: k.address)
OWNERS = [key(f"owner {i}") for i in range(4)]
WORKERS = [key(f"worker {i}") for i in range(3)]
ALICE, BOB = key("alice"), key("bob")
CHAINS = [beacon_chain(validator.secret, 4096) for validator in VALIDATORS]


def make_genesis(params: Params = PARAMS, **changes: Any) -> Genesis:
    founders = tuple(
        GenesisValidator(owner.address, validator.public_key, validator.public_key, chain.anchor)
        for owner, validator, chain in zip(OWNERS, VALIDATORS, CHAINS, strict=True)
    )
    rich = tuple(GenesisAccount(k.address, FUNDS) for k in (ALICE, BOB, *WORKERS))
    genesis = Genesis("test", Millis(0), params, DORMANT_SAT, founders, rich)
    return replace(genesis, **changes)


@dataclass(frozen=True)
class Update:
    """What a worker would train, with the salt that hides it."""

    worker: KeyPair
    cid: Cid
    salt: Hash = ZERO_HASH


class World:
    """The chain. After every block the whole supply is counted, twice."""

    def __init__(self, params: Params = PARAMS, **genesis_changes: Any) -> None:
        self.params = params
        genesis = make_genesis(params, **genesis_changes)
        self.chain_id = chain_id(genesis)
        self.state: dict[bytes, bytes] = genesis_state(genesis)
        self.height = 0
        self.events: list[Event] = []
        """Of the last block: its own, then those of its receipts."""
        self.chains: dict[Hash, BeaconChain] = {chain.anchor: chain for chain in CHAINS}
        self.audit_each_block = True
        self.books = Books(genesis)

    def context(self, proposer: int | None = None, **changes: Any) -> BlockContext:
        """Of the next block; validators take turns."""
        height = Height(self.height + 1)
        epoch = epoch_of(height, self.params)
        seat = height % len(VALIDATORS) if proposer is None else proposer
        address = VALIDATORS[seat].address
        position = read_beacon_position(self.state, address, epoch)
        assert position is not None
        reveal = self.chains[position.anchor].reveal(position.reveals)
        now = Millis(height * 500)
        context = BlockContext(self.chain_id, self.params, height, epoch, now, address, reveal)
        return replace(context, **changes)

    def transaction(self, sender: KeyPair, action: Action, **changes: Any) -> CheckedTransaction:
        """A valid one for the next block, but for `changes` to its body."""
        nonce = read_account(self.state, sender.address).nonce
        expires = Height(self.height + 100)
        fee = Amount(max(FEE, fee_min(self.params, FEE_BYTES, action)))
        body = TransactionBody(self.chain_id, sender.public_key, nonce, fee, expires, action)
        return sign_transaction(sender, replace(body, **changes))

    def execute(self, transactions: Sequence[CheckedTransaction], **context: Any) -> Execution:
        """The next block's execution, without applying it."""
        return execute_block(self.state, self.context(**context), transactions)

    def build(self, candidates: Sequence[CheckedTransaction], **context: Any) -> BuiltBlock:
        return build_block(self.state, self.context(**context), candidates)

    def block(self, *transactions: CheckedTransaction, **context: Any) -> Execution:
        """Execute and apply the next block."""
        execution = self.execute(transactions, **context)
        for state_key, value in execution.writes.items():
            if value is None:
                del self.state[state_key]
            else:
                self.state[state_key] = value
        self.height += 1
        self.events = list(execution.events)
        for receipt in execution.receipts:
            self.events.extend(receipt.events)
        if self.audit_each_block:
            self._audit(transactions, execution)
        return execution

    def _audit(self, transactions: Sequence[CheckedTransaction], execution: Execution) -> None:
        """Every unit lies where the ledger says, and where its receipts say."""
        found = audit_supply(self.state.items())
        assert found.is_sound
        self.books.enter(transactions, execution)
        supply = found.supply
        assert self.books.totals() == (
            supply.accounts,
            supply.escrow,
            supply.bonds,
            supply.accrued,
            supply.fees,
            supply.treasury,
            supply.reserve,
        )
        for address, balance in self.books.balances.items():
            assert self.balance(address) == balance

    def blocks(self, count: int) -> list[Event]:
        """Empty blocks; returns all their events."""
        events: list[Event] = []
        for _ in range(count):
            self.block()
            events.extend(self.events)
        return events

    def do(self, *pairs: tuple[KeyPair, Action], **context: Any) -> tuple[str, ...]:
        """One block with these actions, at most one of each sender; returns the receipts' codes."""
        signed = [self.transaction(sender, action) for sender, action in pairs]
        execution = self.block(*signed, **context)
        return tuple(receipt.code for receipt in execution.receipts)

    def free(self, sender: KeyPair, action: Action) -> CheckedTransaction:
        """A transaction without a fee."""
        return self.transaction(sender, action, fee=Amount(0))

    def last_id(self, sender: KeyPair, action: Action) -> Hash:
        """Submit `action` alone in a block that must accept it; returns its id."""
        transaction = self.transaction(sender, action)
        (receipt,) = self.block(transaction).receipts
        assert receipt.code == "ok", receipt
        return transaction.id

    def balance(self, address: Address) -> int:
        return read_account(self.state, address).balance

    def found(self, kind: type) -> list[Any]:
        """Events of that kind in the last block."""
        return [event for event in self.events if isinstance(event, kind)]

    def register_workers(self) -> None:
        offer = RegisterWorker(VALIDATORS[0].address, 2, (JobKind.TRAIN, JobKind.EVALUATE))
        codes = self.do(*((worker, offer) for worker in WORKERS))
        assert set(codes) == {"ok"}

    def round(self, task: Hash, number: int = 0) -> LearningRound:
        learning_round = read_round(self.state, task, number)
        assert learning_round is not None
        return learning_round

    def commit(self, task: Hash, number: int, update: Update) -> CommitUpdate:
        base = self.round(task, number).base
        worker = update.worker.address
        commitment = update_commitment(
            self.chain_id, task, number, worker, base, update.cid, update.salt
        )
        return CommitUpdate(task, number, commitment)


def make_task(**changes: Any) -> SubmitTask:
    """Three rounds of three workers, with short windows."""
    task = SubmitTask(
        model=ModelSpec(ModelKind.MLP, (64, 64, 10), Activation.RELU),
        base=cid("base"),
        plan=TrainingPlan(epochs=1, batch=16, learning_rate=10**8),
        rule=Rule.MEAN,
        test_shard=cid("shard"),
        update_limit=1 << 26,
        rounds=3,
        seats=3,
        updates_min=2,
        commit_blocks=5,
        reveal_blocks=4,
        attest_blocks=6,
        budget=Amount(90 * AIOS),
        bond=Amount(AIOS),
    )
    return replace(task, **changes)


def reveal(task: Hash, number: int, update: Update) -> RevealUpdate:
    return RevealUpdate(task, number, update.cid, update.salt)


def attest(
    task: Hash,
    number: int,
    verdicts: Sequence[Verdict] = (Verdict.ACCEPTED,) * 3,
    aggregate: str = "aggregate",
) -> AttestRound:
    return AttestRound(task, number, tuple(verdicts), cid(aggregate), SCORE)
