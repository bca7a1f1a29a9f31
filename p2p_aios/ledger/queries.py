"""Read-only questions about a state, for RPC and the node's driver."""

from p2p_aios.ledger.accounts import account_of
from p2p_aios.ledger.beacon import BeaconPosition, beacon_position
from p2p_aios.ledger.jobs import open_jobs
from p2p_aios.ledger.records import (
    Account,
    Chain,
    ComputeJob,
    LearningRound,
    LearningTask,
    Supply,
    Validator,
    Worker,
)
from p2p_aios.ledger.state import State, StateReader
from p2p_aios.ledger.tables import (
    CHAIN,
    COMMITTEES,
    JOBS,
    ROUNDS,
    SUPPLY,
    TASK_INDEX,
    TASKS,
    VALIDATORS,
    WORKERS,
    epoch_key,
    round_key,
)
from p2p_aios.types.committee import Committee, committee_hash
from p2p_aios.types.compute import JobId
from p2p_aios.types.learning import Round, TaskId
from p2p_aios.units import Address, Epoch, Hash


def read_chain(reader: StateReader) -> Chain:
    """Height and beacon mix of this state."""
    return State(reader).require(CHAIN)


def read_account(reader: StateReader, address: Address) -> Account:
    """Balance and next nonce; both zero for an account nobody used."""
    return account_of(State(reader), address)


def read_supply(reader: StateReader) -> Supply:
    """The purses; `target` and `circulating` are derived."""
    return State(reader).require(SUPPLY)


def read_validator(reader: StateReader, address: Address) -> Validator | None:
    return State(reader).get(VALIDATORS, address)


def read_beacon_position(
    reader: StateReader, address: Address, epoch: Epoch
) -> BeaconPosition | None:
    """What the validator's next block, in `epoch`, must reveal; None for a stranger."""
    validator = State(reader).get(VALIDATORS, address)
    return None if validator is None else beacon_position(validator, epoch)


def read_committee(reader: StateReader, epoch: Epoch) -> Committee | None:
    """None where not yet fixed, or forgotten. The seed of an epoch that has not begun is zero."""
    return State(reader).get(COMMITTEES, epoch_key(epoch))


def header_committee_hash(reader: StateReader, epoch: Epoch) -> Hash:
    """`Header.committee_hash` of a block of `epoch`; the same before and after the block."""
    state = State(reader)
    current = state.require(COMMITTEES, epoch_key(epoch))
    upcoming = state.require(COMMITTEES, epoch_key(epoch + 1))
    return committee_hash(current, upcoming.members)


def read_worker(reader: StateReader, address: Address) -> Worker | None:
    return State(reader).get(WORKERS, address)


def read_job(reader: StateReader, job: JobId) -> ComputeJob | None:
    return State(reader).get(JOBS, job)


def list_open_jobs(reader: StateReader) -> tuple[ComputeJob, ...]:
    """Waiting ones, then assigned ones by deadline."""
    return tuple(open_jobs(State(reader)))


def read_task(reader: StateReader, task: TaskId) -> LearningTask | None:
    return State(reader).get(TASKS, task)


def list_tasks(reader: StateReader) -> tuple[LearningTask, ...]:
    """Open ones by what is due next, then recently finished ones, oldest first."""
    state = State(reader)
    index = state.require(TASK_INDEX)
    ids = [*(due.id for due in index.open), *index.recent]
    return tuple(state.require(TASKS, id) for id in ids)


def read_round(reader: StateReader, task: TaskId, number: Round) -> LearningRound | None:
    return State(reader).get(ROUNDS, round_key(task, number))
