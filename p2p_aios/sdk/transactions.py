"""Calls about transactions: sign, submit, wait."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final

import trio

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.sdk.answers import or_refusal
from p2p_aios.sdk.chain import ChainCalls
from p2p_aios.sdk.sender import Sender
from p2p_aios.types.receipt import SUCCESS
from p2p_aios.types.transaction import Action
from p2p_aios.types.views import TransactionState, TransactionStatus
from p2p_aios.units import Address, Amount, Hash

WAIT_S_MAX: Final = 15
"""Longest single `tx.wait`; longer waits ask again."""
SENDERS_MAX: Final = 1024
"""Accounts whose nonces are remembered."""


class TransactionCalls(ChainCalls):
    """`tx.*`. Where checking, finality and receipt are proven; that a transaction waits, never."""

    @cached_property
    def _senders(self) -> dict[Address, Sender]:
        return {}

    async def submit(self, raw: bytes) -> Hash:
        """Submit an encoded transaction; its id."""
        return await self._id("tx.submit", raw=raw.hex())

    async def submit_all(self, raws: Sequence[bytes]) -> list[Hash | AiosError]:
        """Submit in one batch, in order; a refused one's place holds why."""
        results = await self._nodes.batch([("tx.submit", {"raw": raw.hex()}) for raw in raws])
        return [or_refusal(Hash, each) for each in results]

    async def transaction(self, id: Hash) -> TransactionStatus:
        """Whether it is final, and its receipt."""
        return await self._status("tx.get", id)

    async def wait(self, id: Hash, timeout_s: float = 30) -> TransactionStatus:
        """Until the transaction is final; raises Unavailable(`transaction_pending`)."""
        deadline = trio.current_time() + timeout_s
        while True:
            left_s = max(0.0, min(WAIT_S_MAX, deadline - trio.current_time()))
            timeout_ms = int(left_s * 1000)
            status = await self._status("tx.wait", id, timeout_ms=timeout_ms)
            if status.state is TransactionState.FINALIZED:
                return status
            if trio.current_time() >= deadline:
                raise Unavailable(
                    "transaction_pending",
                    f"{id.hex()} is not final after {timeout_s:g} s; it may still become so",
                )

    async def _status(self, method: str, id: Hash, **params: Any) -> TransactionStatus:
        if self._light is None:
            return await self._ask(TransactionStatus, method, id=id.hex(), **params)
        return await self._checked(self._prove_status, method, id, params)

    async def _prove_status(
        self, method: str, id: Hash, params: dict[str, Any]
    ) -> TransactionStatus:
        told = await self._ask(TransactionStatus, method, id=id.hex(), **params)
        if told.state is TransactionState.PENDING:
            return told
        block = await self.block(told.height, has_transactions=True, has_outcome=True)
        if id not in block.transaction_ids or not block.transactions or not block.outcome:
            raise Invalid("proof_off_topic", f"block {told.height} does not hold {id.hex()}")
        index = block.transaction_ids.index(id)
        transaction, receipt = block.transactions[index], block.outcome.receipts[index]
        return TransactionStatus(id, told.state, transaction, block.header.height, receipt)

    async def send(self, key: KeyPair, action: Action, *, fee: Amount | None = None) -> Hash:
        """Sign and submit an action of `key`'s account; the transaction's id."""
        return await self.sender(key).send(action, fee=fee)

    async def send_and_wait(
        self, key: KeyPair, action: Action, *, fee: Amount | None = None, timeout_s: float = 30
    ) -> TransactionStatus:
        """Send and wait until final; raises Invalid with the receipt's code where it failed."""
        status = await self.wait(await self.send(key, action, fee=fee), timeout_s)
        require_success(status)
        return status

    def sender(self, key: KeyPair) -> Sender:
        """The one that counts the nonces of `key`'s account."""
        if len(self._senders) >= SENDERS_MAX:
            self._senders.pop(next(iter(self._senders)))
        return self._senders.setdefault(key.address, Sender(self, key))


def require_success(status: TransactionStatus) -> None:
    """Raises Invalid with the code of a receipt that is not `ok`."""
    if status.receipt is not None and status.receipt.code != SUCCESS:
        raise Invalid(
            status.receipt.code,
            f"transaction {status.id.hex()} was included at height {status.height} but failed; "
            "only its fee was taken",
        )
