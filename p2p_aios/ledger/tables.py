"""State keys: one prefix byte per table, then the canonical key. Prefixes are never reused."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from p2p_aios.codec import cbor, schema
from p2p_aios.errors import Corrupt, Invalid
from p2p_aios.ledger.records import (
    Account,
    Chain,
    ComputeJob,
    JobIndex,
    LearningRound,
    LearningTask,
    Supply,
    TaskIndex,
    Validator,
    ValidatorIndex,
    Worker,
    WorkerIndex,
)
from p2p_aios.types.committee import Committee
from p2p_aios.types.learning import TaskId

Record = TypeVar("Record")

RECORD_BYTES_MAX: Final = 256 * 1024
"""Largest state value; every record's bounds keep it well below."""


@dataclass(frozen=True, slots=True, eq=False)
class Table(Generic[Record]):
    """Where records of one kind live, and how they are written."""

    prefix: bytes
    encode: Callable[[Record], bytes]
    decode: Callable[[bytes], Record]
    """Raises Corrupt(`state_corrupt`): state values are our own."""


def _table(prefix: bytes, kind: type[Record]) -> Table[Record]:
    convert = schema.converter(kind)
    to_plain, from_plain = convert.to_plain, convert.from_plain

    def encode(record: Record) -> bytes:
        return cbor.encode(to_plain(record))

    def decode(data: bytes) -> Record:
        # No re-encoding: these bytes were committed by a state root, not sent by a stranger.
        try:
            record: Record = from_plain(cbor.decode_lenient(data, RECORD_BYTES_MAX))
        except Invalid as error:
            raise Corrupt("state_corrupt", f"{kind.__name__}: {error.message}") from None
        return record

    return Table(prefix, encode, decode)


def _encode_account(account: Account) -> bytes:
    return cbor.encode((account.balance, account.nonce))


def _decode_account(data: bytes) -> Account:
    # Twice a transfer: the schema's own converter takes four times as long to the same end.
    try:
        balance, nonce = cbor.decode_lenient(data, RECORD_BYTES_MAX)
    except (Invalid, TypeError, ValueError) as error:
        raise Corrupt("state_corrupt", f"Account: {error}") from None
    return Account(balance, nonce)


CHAIN: Final = _table(b"\x00", Chain)
SUPPLY: Final = _table(b"\x01", Supply)
ACCOUNTS: Final = Table(b"\x02", _encode_account, _decode_account)
"""By address."""
VALIDATORS: Final = _table(b"\x03", Validator)
"""By address of the validator key."""
VALIDATOR_INDEX: Final = _table(b"\x04", ValidatorIndex)
COMMITTEES: Final = _table(b"\x05", Committee)
"""By `epoch_key`."""
WORKERS: Final = _table(b"\x06", Worker)
"""By address."""
WORKER_INDEX: Final = _table(b"\x07", WorkerIndex)
JOBS: Final = _table(b"\x08", ComputeJob)
"""By job id."""
JOB_INDEX: Final = _table(b"\x09", JobIndex)
TASKS: Final = _table(b"\x0a", LearningTask)
"""By task id."""
TASK_INDEX: Final = _table(b"\x0b", TaskIndex)
ROUNDS: Final = _table(b"\x0c", LearningRound)
"""By `round_key`."""

TABLES: Final[dict[bytes, Table[Any]]] = {
    table.prefix: table
    for table in (
        CHAIN,
        SUPPLY,
        ACCOUNTS,
        VALIDATORS,
        VALIDATOR_INDEX,
        COMMITTEES,
        WORKERS,
        WORKER_INDEX,
        JOBS,
        JOB_INDEX,
        TASKS,
        TASK_INDEX,
        ROUNDS,
    )
}


def epoch_key(epoch: int) -> bytes:
    return epoch.to_bytes(8, "big")


def round_key(task: TaskId, number: int) -> bytes:
    return task + number.to_bytes(8, "big")


def account_key(address: bytes) -> bytes:
    """Full state key of an account: what a light client asks a proof for."""
    return ACCOUNTS.prefix + address
