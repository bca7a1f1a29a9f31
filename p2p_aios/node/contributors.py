"""What this node has its contributors do and sign, and what it makes of that: transactions.

A contributor does one piece of long work at a time, but signs in between: a commitment must be
revealed in its window, whatever the contributor is training for another task. So its nonce is not
reserved while it works. If it was used meanwhile, the contributor, which keeps what it has done,
is asked to sign that again with the next one.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from p2p_aios.errors import Unavailable
from p2p_aios.ledger.accounts import fee_min
from p2p_aios.node.blobs import Blobs
from p2p_aios.node.chain import Chain
from p2p_aios.node.transactions import EXPIRY_BLOCKS, Transactions
from p2p_aios.node.turns import Turns
from p2p_aios.types.gateway import Signed, Terms
from p2p_aios.units import Address, Amount, Hash

TRANSACTION_BYTES: Final = 1024
"""More than a commit, reveal or receipt takes; prices its fee before it exists."""
SIGNINGS_MAX: Final = 8
"""How often a contributor is asked to sign one thing, when other duties keep taking its nonce."""

Work = Callable[[Terms], Awaitable[Signed]]
"""Asks a contributor to do something, and to sign for it on these terms."""


class Contributors:
    """The contributors of one node."""

    def __init__(self, chain: Chain, transactions: Transactions, blobs: Blobs) -> None:
        self._chain = chain
        self._transactions = transactions
        self._blobs = blobs
        self._working: Turns[Address] = Turns()
        self._signing: Turns[Address] = Turns()

    async def work(self, worker: Address, work: Work) -> Hash:
        """As `sign`, for what may take long: one at a time for each contributor."""
        async with self._working.take(worker):
            return await self.sign(worker, work)

    async def sign(self, worker: Address, work: Work) -> Hash:
        """Have it done and signed, keep the output, submit; the transaction's id.

        Raises what `work` raises, and the codes of `Blobs.put` and `Transactions.submit`;
        Unavailable(`signing_contended`).
        """
        for _ in range(SIGNINGS_MAX):
            terms = Terms(
                self._chain.chain_id,
                self._transactions.next_nonce(worker),
                Amount(fee_min(self._chain.params, TRANSACTION_BYTES)),
                self._transactions.expiry(),
            )
            signed = await work(terms)
            async with self._signing.take(worker):
                if self._still_hold(worker, terms):
                    if signed.output:
                        await self._blobs.put(signed.output)
                    return await self._transactions.submit(signed.raw)
        raise Unavailable("signing_contended", "other duties keep taking the contributor's nonce")

    def _still_hold(self, worker: Address, terms: Terms) -> bool:
        """Whether a transaction on these terms is next, and has time to be included."""
        has_time = terms.expires >= self._chain.tip.height + EXPIRY_BLOCKS // 2
        return has_time and terms.nonce == self._transactions.next_nonce(worker)
