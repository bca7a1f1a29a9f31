"""The mempool's places: some for transactions that pay a fee, others for free ones.

What the ledger waives the fee of is what the chain waits for; by price it would never get a place
in a full pool. So it has places of its own, which no fee buys, and never takes another. What is
free for the sender has no price to choose by either: where its places are taken, it has to wait.
"""

from dataclasses import dataclass

from p2p_aios.types.transaction import CheckedTransaction


@dataclass(frozen=True, slots=True)
class Limits:
    """What the mempool holds at most."""

    count_max: int = 20_000
    """Of those that pay."""
    bytes_max: int = 32 << 20
    account_count_max: int = 64
    """Of one account, free ones included; also how far ahead of its next nonce one may be."""
    free_count_max: int = 1024
    """Of free ones: what a full committee may have waiting."""
    free_bytes_max: int = 2 << 20
    free_account_count_max: int = 16
    """Free ones of one account, so that no validator takes the places of the others."""


@dataclass(slots=True)
class Lane:
    """Places of one kind, and what stands there."""

    count_max: int
    bytes_max: int
    count: int = 0
    bytes: int = 0

    def enter(self, transaction: CheckedTransaction) -> None:
        self.count += 1
        self.bytes += len(transaction.raw)

    def leave(self, transaction: CheckedTransaction) -> None:
        self.count -= 1
        self.bytes -= len(transaction.raw)

    def excess(
        self, coming: CheckedTransaction, going: CheckedTransaction | None
    ) -> tuple[int, int]:
        """How many places and bytes are too few for `coming`, once `going` has left; zero or less
        where it fits."""
        count, size = self.count + 1, self.bytes + len(coming.raw)
        if going is not None:
            count, size = count - 1, size - len(going.raw)
        return count - self.count_max, size - self.bytes_max


def is_free(transaction: CheckedTransaction) -> bool:
    """Whether it offers no fee; that it need not is the ledger's to say."""
    return transaction.body.fee == 0
