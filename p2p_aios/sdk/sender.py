"""From an action to a submitted transaction: nonce, fee, expiry, signature."""

from collections.abc import Sequence
from typing import Final, Protocol

import trio

from p2p_aios.codec import schema
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import AiosError
from p2p_aios.ledger.accounts import fee_min
from p2p_aios.params import Params
from p2p_aios.types.genesis import Genesis
from p2p_aios.types.transaction import (
    Action,
    CheckedTransaction,
    Transaction,
    TransactionBody,
    sign_transaction,
)
from p2p_aios.types.views import AccountView
from p2p_aios.units import Address, Amount, Hash, Height, Signature

LIFETIME_BLOCKS: Final = 240
"""How long a transaction stays includable: two minutes."""
FRESH_S: Final = 30
"""How long a read height serves to set expiries."""


class Node(Protocol):
    """What a sender asks of the client."""

    async def chain(self) -> tuple[Hash, Genesis]: ...

    async def account(self, address: Address) -> AccountView: ...

    async def submit(self, raw: bytes) -> Hash: ...

    async def submit_all(self, raws: Sequence[bytes]) -> list[Hash | AiosError]: ...


def sign_action(
    key: KeyPair,
    chain_id: Hash,
    params: Params,
    action: Action,
    *,
    nonce: int,
    expires: Height,
    fee: Amount | None = None,
) -> CheckedTransaction:
    """A signed transaction; where no fee is given, with the least the chain accepts."""
    paid = fee_min(params, 0, action) if fee is None else fee
    while True:
        body = TransactionBody(
            chain_id, key.public_key, nonce, Amount(paid), Height(expires), action
        )
        size = len(schema.encode(Transaction(body, Signature(bytes(64)))))
        # A larger fee may take more bytes, which cost more; it settles after a step or two.
        if fee is not None or paid >= fee_min(params, size, action):
            return sign_transaction(key, body)
        paid = fee_min(params, size, action)


class Sender:
    """Sends one account's transactions, many in flight, without a gap in their nonces.

    It counts nonces itself and asks the node anew after any refusal. Two programs that send from
    one account at the same time will disturb each other.
    """

    def __init__(self, node: Node, key: KeyPair) -> None:
        self._node = node
        self._key = key
        self._turn = trio.Lock()
        self._nonce: int | None = None
        self._height = Height(0)
        self._read_s = 0.0

    async def send(self, action: Action, *, fee: Amount | None = None) -> Hash:
        """Submit one action; the transaction's id.

        Raises the node's refusal, after which the next send starts from the node's nonce.
        """
        async with self._turn:
            signed = await self._sign(action, fee)
            try:
                id = await self._node.submit(signed.raw)
            except AiosError:
                self._nonce = None
                raise
            self._nonce = signed.body.nonce + 1
            return id

    async def send_all(self, actions: Sequence[Action]) -> list[Hash]:
        """Submit actions in one batch, to be included in this order.

        Raises the first refusal; those before it are submitted.
        """
        async with self._turn:
            signed = []
            for action in actions:
                signed.append(await self._sign(action, None))
                self._nonce = signed[-1].body.nonce + 1
            results: list[Hash | AiosError] = []
            try:
                results = await self._node.submit_all([each.raw for each in signed])
            finally:
                if not results or any(isinstance(result, AiosError) for result in results):
                    self._nonce = None
        ids: list[Hash] = []
        for result in results:
            if isinstance(result, AiosError):
                raise result
            ids.append(result)
        return ids

    async def _sign(self, action: Action, fee: Amount | None) -> CheckedTransaction:
        chain_id, genesis = await self._node.chain()
        nonce = await self._next_nonce()
        lifetime = min(LIFETIME_BLOCKS, genesis.params.transaction_lifetime_blocks)
        expires = Height(self._height + lifetime)
        return sign_action(
            self._key, chain_id, genesis.params, action, nonce=nonce, expires=expires, fee=fee
        )

    async def _next_nonce(self) -> int:
        if self._nonce is None or trio.current_time() > self._read_s + FRESH_S:
            view = await self._node.account(self._key.address)
            self._height, self._read_s = view.height, trio.current_time()
            if self._nonce is None:
                self._nonce = view.next_nonce
        return self._nonce
