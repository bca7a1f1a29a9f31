"""How transactions come in, wait, spread, and are chosen.

They arrive by RPC or gossip, are checked once in a worker thread, admitted against the finalized
state, and batched to the other nodes. What is merely too early here (a commit to a round that this
node has yet to see open) is held for a few blocks: its sender may simply be ahead of us.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import trio

from p2p_aios.codec import schema
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.admission import check_admission
from p2p_aios.ledger.queries import read_account
from p2p_aios.mempool.checked import CheckedCache
from p2p_aios.mempool.mempool import Mempool
from p2p_aios.network.gossip import MESSAGE_BYTES_TARGET, Gossip, GossipMessage, Topic
from p2p_aios.network.pubsub import Verdict
from p2p_aios.node.candidate import Candidate
from p2p_aios.node.chain import Chain, Footing
from p2p_aios.types.transaction import (
    Action,
    CheckedTransaction,
    TransactionBatch,
    TransactionBody,
    check_transaction,
    sign_transaction,
)
from p2p_aios.units import Address, Amount, Hash, Height

COALESCE_S: Final = 0.02
"""How long the first new transaction waits for others to share its gossip message."""
EARLY_MAX: Final = 1024
"""Most transactions held because they came too early."""
EARLY_BLOCKS: Final = 8
"""For how many blocks they are held."""
OWN_BYTES_MAX: Final = 1024
"""More than a transaction of the node's own takes; prices its fee before it exists."""
EXPIRY_BLOCKS: Final = 120
"""How long a transaction that the node makes or orders may wait."""
RENEW_BLOCKS: Final = 8
"""A transaction of ours still waiting after this many blocks is gossiped again."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Early:
    transaction: CheckedTransaction
    until: Height


class Transactions:
    """The mempool with its ways in and out."""

    def __init__(self, chain: Chain, gossip: Gossip) -> None:
        self.mempool = Mempool()
        self._chain = chain
        self._gossip = gossip
        self._checked = CheckedCache(chain.chain_id)
        self._early: deque[_Early] = deque(maxlen=EARLY_MAX)
        self._own: dict[Hash, Height] = {}
        self._again: deque[CheckedTransaction] = deque()
        self._fresh = trio.Event()

    async def submit(self, raw: bytes) -> Hash:
        """Take a transaction from a client of this node and spread it; its id.

        Raises Invalid and Unavailable with the codes of `check_transaction`, `check_admission` and
        `Mempool.add`.
        """
        (transaction,) = await self.check((raw,))
        self._admit(transaction, announce=True)
        self._own[transaction.id] = self._chain.tip.height
        self._fresh.set()
        return transaction.id

    async def submit_own(self, key: KeyPair, action: Action, fee: Amount | None = None) -> Hash:
        """Sign and submit an action of this node's own key; without a fee named, at the usual one.

        Raises as `submit`.
        """
        params = self._chain.params
        usual = params.fee_base + params.fee_per_byte * OWN_BYTES_MAX
        body = TransactionBody(
            chain_id=self._chain.chain_id,
            sender=key.public_key,
            nonce=self.next_nonce(key.address),
            fee=Amount(usual) if fee is None else fee,
            expires=self.expiry(),
            action=action,
        )
        return await self.submit(sign_transaction(key, body).raw)

    def expiry(self) -> Height:
        """Last height for a transaction that this node has made or ordered now."""
        return Height(self._chain.tip.height + EXPIRY_BLOCKS)

    async def check(self, raws: Sequence[bytes]) -> tuple[CheckedTransaction, ...]:
        """Form and signature of each, known ones from the cache, the rest in a worker thread.

        Raises Invalid for the first bad one.
        """
        found = [self._checked.known(raw) for raw in raws]
        unknown = [raw for raw, known in zip(raws, found, strict=True) if known is None]
        if unknown:
            fresh = await trio.to_thread.run_sync(_check_all, unknown, self._chain.chain_id)
            for raw, result in zip(unknown, fresh, strict=True):
                if isinstance(result, Invalid):
                    self._checked.remember_refused(raw, result)
                    raise result
                self._checked.remember(result)
            results = iter(fresh)
            found = [known or next(results) for known in found]  # type: ignore[misc]
        return tuple(transaction for transaction in found if transaction is not None)

    def select(self, footing: Footing) -> tuple[CheckedTransaction, ...]:
        """What waits for a block on `footing`, best price first."""
        params = self._chain.params
        with self._chain.snapshot() as snapshot:
            ground = self._chain.ground(footing, snapshot)
            return self.mempool.select(
                params.block_bytes_max,
                params.block_transactions_max,
                lambda address: read_account(ground, address).nonce,
            )

    def next_nonce(self, address: Address) -> int:
        """The nonce of the account's next transaction, given what waits here."""
        with self._chain.state() as state:
            return self.mempool.pending_nonce(address, read_account(state, address).nonce)

    def drop(self, rejected: Sequence[tuple[CheckedTransaction, Invalid]]) -> None:
        """Forget what a block could not include, unless its turn may still come."""
        for transaction, error in rejected:
            if error.code != "nonce_too_high":
                self.mempool.remove(transaction.id)

    def forget_finalized(self, final: Sequence[Candidate]) -> None:
        """Blocks became final: drop what they settled, retry what was too early."""
        height = self._chain.tip.height
        with self._chain.state() as state:
            senders = {t.sender: None for candidate in final for t in candidate.transactions}
            nonces = {sender: read_account(state, sender).nonce for sender in senders}
        self.mempool.forget_finalized(nonces, height)
        for _ in range(len(self._early)):
            early = self._early.popleft()
            self._admit_or_hold(early.transaction, early.until)
        self._renew(height)

    async def run(self) -> None:
        """Gossip in and out until cancelled."""
        async with trio.open_nursery() as nursery:
            messages = await self._gossip.join(Topic.TRANSACTIONS, self._validate)
            nursery.start_soon(self._announce)
            async for _ in messages:
                pass  # admitted while validating

    async def _announce(self) -> None:
        while True:
            await self._fresh.wait()
            await trio.sleep(COALESCE_S)
            self._fresh = trio.Event()
            while batch := self._take_batch():
                raws = tuple(transaction.raw for transaction in batch)
                await self._gossip.publish(
                    Topic.TRANSACTIONS, schema.encode_as(TransactionBatch, raws)
                )

    def _take_batch(self) -> tuple[CheckedTransaction, ...]:
        if self._again:
            return (self._again.popleft(),)
        return self.mempool.take_unannounced(MESSAGE_BYTES_TARGET)

    async def _validate(self, message: GossipMessage) -> Verdict:
        try:
            raws = schema.decode_as(TransactionBatch, message.data)
            transactions = await self.check(raws)
        except Invalid as error:
            log.debug("transactions refused code=%s", error.code)
            return Verdict.REJECT
        until = Height(self._chain.tip.height + EARLY_BLOCKS)
        is_new = [self._admit_or_hold(transaction, until) for transaction in transactions]
        return Verdict.ACCEPT if any(is_new) else Verdict.IGNORE

    def _admit_or_hold(self, transaction: CheckedTransaction, until: Height) -> bool:
        """Whether it is worth passing on."""
        try:
            self._admit(transaction, announce=False)
        except Unavailable as error:
            is_early = error.code != "mempool_full" and self._chain.tip.height < until
            if is_early:
                self._early.append(_Early(transaction, until))
            return is_early
        except Invalid as error:
            log.debug("transaction %s refused code=%s", transaction.id.hex()[:16], error.code)
            return False
        return True

    def _admit(self, transaction: CheckedTransaction, *, announce: bool) -> None:
        height = self._chain.tip.height
        with self._chain.state() as state:
            check_admission(state, self._chain.params, height, transaction)
            nonce = read_account(state, transaction.sender).nonce
        self.mempool.add(transaction, nonce, height, announce=announce)

    def _renew(self, height: Height) -> None:
        for id, since in list(self._own.items()):
            waiting = self.mempool.get(id)
            if waiting is None:
                del self._own[id]
            elif height - since >= RENEW_BLOCKS:
                self._own[id] = height
                self._again.append(waiting)
                self._fresh.set()


def _check_all(raws: Sequence[bytes], chain_id: Hash) -> list[CheckedTransaction | Invalid]:
    results: list[CheckedTransaction | Invalid] = []
    for raw in raws:
        try:
            results.append(check_transaction(raw, chain_id))
        except Invalid as error:
            results.append(error)
    return results
