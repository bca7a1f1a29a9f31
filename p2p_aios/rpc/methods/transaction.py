"""`tx.*`: submit a transaction and learn what became of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

import trio

from p2p_aios.codec.limits import Range
from p2p_aios.errors import Invalid
from p2p_aios.rpc.projection import decode_transaction
from p2p_aios.rpc.registry import Service, method
from p2p_aios.types.transaction import Action, RawTransaction
from p2p_aios.types.views import TransactionState, TransactionStatus
from p2p_aios.units import Hash

WAIT_MS_MAX: Final = 20_000
"""Longest a `tx.wait` holds its answer; ask again after it."""


@dataclass(frozen=True, slots=True)
class SubmitTransaction:
    raw: RawTransaction


@dataclass(frozen=True, slots=True)
class GetTransaction:
    id: Hash


@dataclass(frozen=True, slots=True)
class WaitTransaction:
    id: Hash
    timeout_ms: Annotated[int, Range(0, WAIT_MS_MAX)] = WAIT_MS_MAX


async def check_ahead(service: Service, asked: Sequence[SubmitTransaction]) -> None:
    """What many submissions in one message do beforehand: a worker thread checks signatures."""
    await service.backend.check_ahead(tuple(each.raw for each in asked))


@method("tx.submit", SubmitTransaction, Hash, changes_state=True, prepare=check_ahead)
async def submit(service: Service, asked: SubmitTransaction) -> Hash:
    """Admit a signed transaction; its id, or the code of what is wrong with it."""
    return await service.backend.submit(asked.raw)


@method("tx.get", GetTransaction, TransactionStatus)
async def get(service: Service, asked: GetTransaction) -> TransactionStatus:
    """A transaction, whether it is final, and its receipt."""
    status = await service.backend.transaction(asked.id)
    if status is None:
        raise _unknown(asked.id)
    return status


@method("tx.wait", WaitTransaction, TransactionStatus)
async def wait(service: Service, asked: WaitTransaction) -> TransactionStatus:
    """Answer once the transaction is final, or with its state when the time-out ends."""
    with trio.move_on_after(asked.timeout_ms / 1000):
        published = service.feed.next_published()
        while not await _is_final(service, asked.id):
            await published.wait()
            published = service.feed.next_published()
    return await get.handle(service, GetTransaction(asked.id))  # type: ignore[no-any-return]


async def submit_action(service: Service, raw: bytes, kind: type) -> Hash:
    """Admit a transaction that must carry a `kind`; raises Invalid(`action_wrong`)."""
    action: Action = decode_transaction(raw).body.action
    if type(action) is not kind:
        found = type(action).__name__
        raise Invalid("action_wrong", f"carries {found} where {kind.__name__} is expected")
    return await service.backend.submit(raw)


async def _is_final(service: Service, id: Hash) -> bool:
    status = await service.backend.transaction(id)
    return status is not None and status.state is TransactionState.FINALIZED


def _unknown(id: Hash) -> Invalid:
    return Invalid(
        "unknown_transaction", f"{id.hex()} neither waits here nor is final; it may have expired"
    )


METHODS: Final = (submit, get, wait)
