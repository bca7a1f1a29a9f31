"""How transactions come in, wait, spread, and are chosen.

They arrive by RPC or gossip, are checked once in a worker thread, admitted against the finalized
state, and batched to the other nodes. What is merely too early here (a commit to a round that this
node has yet to see open) is held for a few blocks: its sender may simply be ahead of us.
"""

import logging
from collections.abc import Iterable, Sequence
from typing import Final

import trio

from p2p_aios.codec import schema
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.accounts import check_fee, fee_min
from p2p_aios.ledger.admission import check_admission
from p2p_aios.ledger.queries import read_account, read_validator
from p2p_aios.ledger.state import StateReader
from p2p_aios.mempool.checked import CheckedCache
from p2p_aios.mempool.mempool import Mempool
from p2p_aios.network.gossip import MESSAGE_BYTES_TARGET, Gossip, GossipMessage, Topic
from p2p_aios.network.pubsub import Verdict
from p2p_aios.node.candidate import Candidate
from p2p_aios.node.chain import Chain, Footing
from p2p_aios.node.early import EARLY_BLOCKS, EARLY_CODES, EarlyTransactions
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
BUSY_COUNT: Final = 16
"""New transactions in one message from which on the next one waits longer."""
BUSY_COALESCE_S: Final = 0.25
"""How long then: a message costs every node milliseconds however little it carries, and half a
block's time delays nothing while blocks are full."""
CHECKS_HERE_MAX: Final = 1
"""Most transactions checked at once without a worker thread, which costs more than one check."""
GOSSIP_CHECKS_MAX: Final = 2
"""Gossiped batches checked at once, so that a flood of them never keeps a proposal waiting."""
CLIENT_CHECKS_MAX: Final = 2
"""Likewise of clients' batches."""
ADMISSIONS_MAX: Final = 64
"""Of a gossiped batch admitted at once: a few milliseconds, then consensus has its turn."""
OWN_BYTES_MAX: Final = 1024
"""More than a transaction of the node's own takes; prices its fee before it exists."""
EXPIRY_BLOCKS: Final = 120
"""How long a transaction that the node makes or orders may wait."""
RENEW_BLOCKS: Final = 8
"""A transaction of ours still waiting after this many blocks is gossiped again."""
RENEWED_MAX: Final = 32_768
"""Most transactions watched for that: more than wait at once."""

log = logging.getLogger(__name__)


class Transactions:
    """The mempool with its ways in and out."""

    def __init__(self, chain: Chain, gossip: Gossip) -> None:
        self.mempool = Mempool()
        self._chain = chain
        self._gossip = gossip
        self._checked = CheckedCache(chain.chain_id)
        self.early = EarlyTransactions()
        self._own: dict[Hash, Height] = {}
        self._again: dict[Hash, None] = {}
        self._fresh = trio.Event()
        self._signing = trio.Lock()
        self._gossip_checks = trio.CapacityLimiter(GOSSIP_CHECKS_MAX)
        self._client_checks = trio.CapacityLimiter(CLIENT_CHECKS_MAX)

    async def submit(self, raw: bytes) -> Hash:
        """Take a transaction from a client of this node and spread it; its id.

        Raises Invalid and Unavailable with the codes of `check_transaction`, `check_admission` and
        `Mempool.add`.
        """
        (transaction,) = await self.check((raw,))
        with self._chain.state() as state:
            self._admit(state, transaction, announce=True)
        if len(self._own) < RENEWED_MAX:
            self._own[transaction.id] = self._chain.tip.height
        self._fresh.set()
        return transaction.id

    async def submit_own(self, key: KeyPair, action: Action, fee: Amount | None = None) -> Hash:
        """Sign and submit an action of this node's own key; without a fee named, at the usual one.

        Raises as `submit`.
        """
        params = self._chain.params
        usual = fee_min(params, OWN_BYTES_MAX, action)
        # One at a time: the nonce is taken only once the transaction waits.
        async with self._signing:
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

    async def check(
        self, raws: Sequence[bytes], limiter: trio.CapacityLimiter | None = None
    ) -> tuple[CheckedTransaction, ...]:
        """Form and signature of each, known ones from the cache, the rest in a worker thread.

        Raises Invalid for the first bad one.
        """
        await self._check_new(raws, limiter)
        return tuple([self._checked.check(raw) for raw in raws])

    async def check_ahead(self, raws: Sequence[bytes]) -> None:
        """Check in one worker thread what clients will submit, so that the cache knows it then,
        the good as well as the bad."""
        await self._check_new(raws, self._client_checks)

    async def _check_new(self, raws: Sequence[bytes], limiter: trio.CapacityLimiter | None) -> None:
        unknown = [raw for raw in dict.fromkeys(raws) if raw not in self._checked]
        if len(unknown) <= CHECKS_HERE_MAX:
            await trio.lowlevel.checkpoint()
            results = _check_all(unknown, self._chain.chain_id)
        else:
            results = await trio.to_thread.run_sync(
                _check_all, unknown, self._chain.chain_id, limiter=limiter
            )
        for raw, result in zip(unknown, results, strict=True):
            if isinstance(result, Invalid):
                self._checked.remember_refused(raw, result)
            else:
                self._checked.remember(result)

    def select(self, footing: Footing, count_max: int) -> tuple[CheckedTransaction, ...]:
        """What waits for a block on `footing`, best price first."""
        # The oldest block first, so that the newest has the last word.
        ahead = _nonces_after(reversed(footing.layers))
        return self.mempool.select(self._chain.params.block_bytes_max, count_max, ahead)

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
        self.mempool.forget_finalized(_nonces_after(final), height)
        with self._chain.state() as state:
            for held in self.early.take():
                self._admit_or_hold(state, held.transaction, held.until)
        self._renew(height)

    async def run(self) -> None:
        """Gossip in and out until cancelled."""
        async with trio.open_nursery() as nursery:
            messages = await self._gossip.join(Topic.TRANSACTIONS, self._validate)
            nursery.start_soon(self._announce)
            async for _ in messages:
                pass  # admitted while validating

    async def _announce(self) -> None:
        wait_s = COALESCE_S
        while True:
            await self._fresh.wait()
            await trio.sleep(wait_s)
            self._fresh, wait_s = trio.Event(), COALESCE_S
            while batch := self._take_batch():
                if len(batch) >= BUSY_COUNT:
                    wait_s = BUSY_COALESCE_S
                raws = tuple(transaction.raw for transaction in batch)
                try:
                    await self._gossip.publish(
                        Topic.TRANSACTIONS, schema.encode_as(TransactionBatch, raws)
                    )
                except Exception:  # of libp2p, of many types; whoever waits is renewed
                    log.exception("%d transactions not spread", len(raws))

    def _take_batch(self) -> tuple[CheckedTransaction, ...]:
        while self._again:
            id = next(iter(self._again))
            del self._again[id]
            waiting = self.mempool.get(id)
            if waiting is not None:
                return (waiting,)
        return self.mempool.take_unannounced(MESSAGE_BYTES_TARGET)

    async def _validate(self, message: GossipMessage) -> Verdict:
        try:
            raws = schema.decode_as(TransactionBatch, message.data)
            transactions = await self.check(raws, self._gossip_checks)
        except Invalid as error:
            log.debug("transactions refused code=%s", error.code)
            return Verdict.REJECT
        is_worthy = False
        for low in range(0, len(transactions), ADMISSIONS_MAX):
            await trio.lowlevel.checkpoint()
            until = Height(self._chain.tip.height + EARLY_BLOCKS)
            with self._chain.state() as state:
                for transaction in transactions[low : low + ADMISSIONS_MAX]:
                    is_worthy |= self._admit_or_hold(state, transaction, until)
        return Verdict.ACCEPT if is_worthy else Verdict.IGNORE

    def _admit_or_hold(
        self, state: StateReader, transaction: CheckedTransaction, until: Height
    ) -> bool:
        """Whether it is worth passing on."""
        try:
            self._admit(state, transaction, announce=False)
        except Unavailable as error:
            return error.code in EARLY_CODES and self._hold(state, transaction, until)
        except Invalid as error:
            log.debug("transaction %s refused code=%s", transaction.id.hex()[:16], error.code)
            return False
        return True

    def _hold(self, state: StateReader, transaction: CheckedTransaction, until: Height) -> bool:
        """Keep what came too early, unless its sender could not pay for it."""
        if self._chain.tip.height >= until or not self.early.has_room(transaction):
            return False
        if not self._can_pay(state, transaction):
            return False
        self.early.hold(transaction, until)
        return True

    def _can_pay(self, state: StateReader, transaction: CheckedTransaction) -> bool:
        if read_validator(state, transaction.sender) is not None:
            return True
        try:
            account = read_account(state, transaction.sender)
            check_fee(self._chain.params, transaction, account)
        except Invalid:
            return False
        return True

    def _admit(
        self, state: StateReader, transaction: CheckedTransaction, *, announce: bool
    ) -> None:
        height = self._chain.tip.height
        account = check_admission(state, self._chain.params, height, transaction)
        self.mempool.add(transaction, account.nonce, height, announce=announce)

    def _renew(self, height: Height) -> None:
        for id, since in list(self._own.items()):
            waiting = self.mempool.get(id)
            if waiting is None:
                del self._own[id]
            elif height - since >= RENEW_BLOCKS:
                self._own[id] = height
                self._again[id] = None
                self._fresh.set()


def _nonces_after(blocks: Iterable[Candidate]) -> dict[Address, int]:
    """Next nonces of the senders in these blocks, oldest first: no state needs to be read."""
    return {t.sender: t.body.nonce + 1 for block in blocks for t in block.transactions}


def _check_all(raws: Sequence[bytes], chain_id: Hash) -> list[CheckedTransaction | Invalid]:
    results: list[CheckedTransaction | Invalid] = []
    for raw in raws:
        try:
            results.append(check_transaction(raw, chain_id))
        except Invalid as error:
            results.append(error)
    return results
