"""Whatever anyone submits: supply is conserved, replay is exact, failures cost fee and nonce only.

Blocks are random, but their actions are drawn from what the state makes plausible, so that rounds
settle, jobs are paid and deadlines pass among the nonsense.
"""

from collections.abc import Iterator
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_aios.codec import schema
from p2p_aios.crypto.beacon import beacon_chain
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.ledger.environment import epoch_of
from p2p_aios.ledger.execute import build_block, execute_block
from p2p_aios.ledger.queries import list_open_jobs, list_tasks, read_supply
from p2p_aios.ledger.records import LearningRound, RoundPhase
from p2p_aios.ledger.tables import ACCOUNTS, ROUNDS, TABLES
from p2p_aios.params import Params
from p2p_aios.types.compute import (
    JobKind,
    JobReceipt,
    RegisterWorker,
    RetireWorker,
    SubmitJob,
    SubmitReceipt,
    input_digest,
)
from p2p_aios.types.genesis import GenesisValidator
from p2p_aios.types.learning import AttestRound, Verdict
from p2p_aios.types.receipt import Receipt
from p2p_aios.types.transaction import (
    Action,
    CheckedTransaction,
    ReportEvidence,
    SetBeaconAnchor,
    Transfer,
)
from p2p_aios.types.vote import Ballot, Vote, VoteKind, ballot_digest
from p2p_aios.units import AIOS, Amount, Epoch, Hash, View
from tests.ledger.world import (
    ALICE,
    BOB,
    FUNDS,
    PARAMS,
    VALIDATORS,
    WORKERS,
    Update,
    World,
    attest,
    cid,
    make_genesis,
    make_task,
    reveal,
)

PEOPLE = [ALICE, BOB, *WORKERS, *VALIDATORS]
TOO_MUCH = Transfer(BOB.address, Amount(2**64 - 1))

SPARE_CHAINS = [beacon_chain(bytes([i]) * 32, 512) for i in range(2)]

Move = tuple[int, int, int]
"""Who, what, and a number that the action makes of what it likes."""
moves = st.tuples(st.integers(0, len(PEOPLE) - 1), st.integers(0, 12), st.integers(0, 99))
blocks = st.lists(st.tuples(st.booleans(), st.lists(moves, max_size=6)), min_size=6, max_size=36)
"""Whether everybody also does its part in the first task, and what else is tried."""
SHORT = replace(PARAMS, epoch_blocks=4, era_epochs=2, evidence_epochs=1)
"""Epochs and eras turn within an example."""


def action_of(world: World, who: KeyPair, what: int, number: int) -> Action:
    """An action that may or may not succeed."""
    tasks, jobs = list_tasks(world.state), list_open_jobs(world.state)
    match what:
        case 0:
            return Transfer(PEOPLE[number % len(PEOPLE)].address, Amount(number * FUNDS // 80))
        case 1:
            kinds = (JobKind.TRAIN,) if number % 3 else (JobKind.TRAIN, JobKind.EVALUATE)
            return RegisterWorker(VALIDATORS[number % 4].address, 1 + number % 2, kinds)
        case 2:
            return RetireWorker()
        case 3:
            payment = Amount(number * AIOS)
            return SubmitJob(JobKind.EVALUATE, (cid("x"),), b"", payment, 1 + number % 3)
        case 4 if jobs:
            job = jobs[number % len(jobs)]
            digest = input_digest(job.order.inputs, job.order.arguments)
            zero = Hash(bytes(32))
            receipt = JobReceipt(job.id, job.nonce, zero, digest, zero, cid("y"), number)
            return SubmitReceipt(receipt)
        case 5:
            budget, bond = Amount(number * AIOS), Amount(number % 7 * AIOS)
            windows = {"commit_blocks": 2, "reveal_blocks": 2, "attest_blocks": 2}
            return make_task(
                budget=budget,
                bond=bond,
                updates_min=1 + number % 2,
                rounds=1 + number % 3,
                **windows,
            )
        case 6:
            return SetBeaconAnchor(SPARE_CHAINS[number % 2].anchor)
        case 12:
            return evidence(world, number)
        case _ if tasks:
            return learning_action(world, who, tasks[number // 50 % len(tasks)].id, what, number)
        case _:
            return Transfer(BOB.address, Amount(number))


def evidence(world: World, number: int) -> ReportEvidence:
    """Two votes of one validator, mostly in conflict and mostly of a recent epoch."""
    epoch = Epoch(max(epoch_of(world.height, world.params) - number % 3, 0))
    blocks = (sha256(b"one"), sha256(b"one" if number % 5 == 0 else b"other"))
    ballots = [Ballot(VoteKind.NOTARIZE, epoch, View(1 + number % 2), block) for block in blocks]
    signer = VALIDATORS[number % 4]
    first, second = (
        Vote(b, number % 4, signer.sign_digest(ballot_digest(world.chain_id, b))) for b in ballots
    )
    return ReportEvidence(first, second)


def learning_action(world: World, who: KeyPair, task: Hash, what: int, number: int) -> Action:
    """The step that the task's running round waits for, most of the time."""
    current = next(t for t in list_tasks(world.state) if t.id == task)
    data = world.state.get(ROUNDS.prefix + task + current.round.to_bytes(8, "big"))
    if data is None:
        return attest(task, current.round)
    learning_round = ROUNDS.decode(data)
    update = Update(who, cid(f"update {number % 5}"))
    if learning_round.phase is RoundPhase.COMMIT and what != 11:
        return world.commit(task, current.round, Update(who, cid("update 0")))
    if learning_round.phase is RoundPhase.REVEAL and what != 11:
        return reveal(
            task, current.round, update if number % 4 == 3 else Update(who, cid("update 0"))
        )
    return statement(learning_round, number)


def statement(learning_round: LearningRound, number: int) -> AttestRound:
    """Mostly the same one, so that quorums come about."""
    verdicts = [Verdict.ACCEPTED] * len(learning_round.revealed)
    if verdicts and number % 5 == 0:
        verdicts[0] = Verdict.DUPLICATE
    aggregate = "model" if number % 7 else "other"
    return attest(learning_round.task, learning_round.number, verdicts, aggregate)


def candidates(
    world: World, wanted: list[Move], is_diligent: bool = False
) -> Iterator[CheckedTransaction]:
    nonces: dict[bytes, int] = {}
    if is_diligent and list_tasks(world.state):
        first = len(PEOPLE) - len(WORKERS) - len(VALIDATORS)
        wanted = [*wanted, *((who, 7, 1) for who in range(first, len(PEOPLE)))]
    for who, what, number in wanted:
        sender = PEOPLE[who]
        action = action_of(world, sender, what, number)
        transaction = world.transaction(sender, action)
        if isinstance(action, AttestRound):
            transaction = world.free(sender, action)
        ahead = nonces.get(sender.address, 0)
        nonces[sender.address] = ahead + 1
        if ahead:
            body = transaction.body
            transaction = world.transaction(sender, action, nonce=body.nonce + ahead, fee=body.fee)
        yield transaction


def replaced(
    world: World, transactions: tuple[CheckedTransaction, ...], receipts: tuple[Receipt, ...]
) -> list[CheckedTransaction]:
    """The same block where every failed action is another one that is sure to fail."""
    return [
        transaction
        if receipt.code == "ok"
        else world.transaction(
            next(p for p in PEOPLE if p.address == transaction.sender),
            TOO_MUCH,
            nonce=transaction.body.nonce,
            fee=transaction.body.fee,
        )
        for transaction, receipt in zip(transactions, receipts, strict=True)
    ]


def check_records(world: World) -> None:
    """Every record decodes strictly, under its own bounds, to what encodes to it again."""
    for key, value in world.state.items():
        record = TABLES[key[:1]].decode(value)
        assert schema.decode(type(record), value) == record
        assert TABLES[key[:1]].encode(record) == value
    balances = [ACCOUNTS.decode(v).balance for k, v in world.state.items() if k[:1] == b"\x02"]
    assert min(balances) >= 0


def funded_world(params: Params = PARAMS) -> World:
    """Validators with money; one of them owns itself, so it is paid as everything at once."""
    world = World(params, validators=self_owned())
    world.chains.update({chain.anchor: chain for chain in SPARE_CHAINS})
    for validator in VALIDATORS:
        world.do((ALICE, Transfer(validator.address, Amount(10 * AIOS))))
    world.register_workers()
    return world


def self_owned() -> tuple[GenesisValidator, ...]:
    first, *others = make_genesis().validators
    return (replace(first, owner=VALIDATORS[0].address), *others)


@given(blocks)
@settings(max_examples=60)
def test_supply_is_conserved_and_blocks_replay_exactly(
    wanted: list[tuple[bool, list[Move]]],
) -> None:
    world = funded_world(SHORT)
    for is_diligent, some_moves in wanted:
        context = world.context()
        built = build_block(world.state, context, list(candidates(world, some_moves, is_diligent)))
        assert execute_block(world.state, context, built.transactions) == built.execution
        # The world audits the whole supply after each block, and compares it with its books.
        assert world.block(*built.transactions) == built.execution
    check_records(world)


@given(blocks)
@settings(max_examples=30)
def test_failed_actions_change_fee_and_nonce_only(wanted: list[tuple[bool, list[Move]]]) -> None:
    world = funded_world()
    for is_diligent, some_moves in wanted:
        context = world.context()
        built = build_block(world.state, context, list(candidates(world, some_moves, is_diligent)))
        receipts = built.execution.receipts
        other = execute_block(world.state, context, replaced(world, built.transactions, receipts))
        assert other.writes == built.execution.writes
        assert other.events == built.execution.events
        for mine, theirs in zip(receipts, other.receipts, strict=True):
            if mine.code == "ok":
                assert theirs == mine
            else:
                assert replace(theirs, transaction=mine.transaction, code=mine.code) == mine
                assert mine.events == ()
        world.block(*built.transactions)


@given(st.lists(st.lists(st.tuples(st.booleans(), st.integers(0, 19)), min_size=7, max_size=7)))
@settings(max_examples=40)
def test_whole_tasks_run_under_random_participation(wanted: list[list[tuple[bool, int]]]) -> None:
    """Each worker and validator acts or sleeps, rightly or not; the task ends and holds nothing."""
    world = funded_world()
    spec = make_task(rounds=3, commit_blocks=2, reveal_blocks=2, attest_blocks=2, updates_min=1)
    task = world.last_id(ALICE, spec)
    actors = [*WORKERS, *VALIDATORS]
    # Whoever the example leaves out acts rightly, so that rounds also settle.
    for step in [*wanted, *[[(True, 1)] * 7] * 40]:
        if read_supply(world.state).escrow == 0:
            break
        acting = [
            (PEOPLE.index(who), 7, number)
            for who, (acts, number) in zip(actors, step, strict=True)
            if acts
        ]
        world.block(*world.build(list(candidates(world, acting))).transactions)
    supply = read_supply(world.state)
    assert (supply.escrow, supply.bonds) == (0, 0)
    assert [t.id for t in list_tasks(world.state)] == [task]
    check_records(world)
