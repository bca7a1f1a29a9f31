"""Each transaction's form and signature are checked once, whichever way it comes again.

A signature costs about 60 µs; a transaction arrives by RPC or gossip, then in a proposal, then in
a block. The check itself (`check_transaction`) is pure and may run in a worker thread; the cache
belongs to one thread.
"""

from collections import OrderedDict
from typing import Final

from p2p_aios.errors import Invalid
from p2p_aios.types.transaction import CheckedTransaction, check_transaction, raw_digest
from p2p_aios.units import Hash

CHECKED_COUNT_MAX: Final = 65_536
"""Most good transactions remembered."""
CHECKED_BYTES_MAX: Final = 32 << 20
"""Most bytes of good transactions remembered."""
REFUSED_COUNT_MAX: Final = 4_096
"""Most refused ones; apart from the good, so that garbage cannot push them out."""


class CheckedCache:
    """Raw bytes to CheckedTransaction, or to the refusal; the longest unused is forgotten first."""

    def __init__(
        self,
        chain_id: Hash,
        count_max: int = CHECKED_COUNT_MAX,
        bytes_max: int = CHECKED_BYTES_MAX,
        refused_count_max: int = REFUSED_COUNT_MAX,
    ) -> None:
        self.chain_id = chain_id
        self._count_max, self._bytes_max = count_max, bytes_max
        self._refused_count_max = refused_count_max
        # By the bytes themselves, which are held anyway: a digest would be one more of everything.
        self._checked: OrderedDict[bytes, CheckedTransaction] = OrderedDict()
        self._bytes = 0
        self._refused: OrderedDict[Hash, Invalid] = OrderedDict()

    def __len__(self) -> int:
        """Good transactions remembered."""
        return len(self._checked)

    def __contains__(self, raw: bytes) -> bool:
        """Whether it was found good, or bad."""
        return raw in self._checked or raw_digest(raw) in self._refused

    def check(self, raw: bytes) -> CheckedTransaction:
        """Look up or check here and now. Raises Invalid as `check_transaction` does."""
        known = self.known(raw)
        if known is not None:
            return known
        try:
            checked = check_transaction(raw, self.chain_id)
        except Invalid as error:
            self.remember_refused(raw, error)
            raise
        self.remember(checked)
        return checked

    def known(self, raw: bytes) -> CheckedTransaction | None:
        """The remembered result, None where there is none. Raises the remembered Invalid."""
        checked = self._checked.get(raw)
        if checked is not None:
            self._checked.move_to_end(raw)
            return checked
        digest = raw_digest(raw)
        refusal = self._refused.get(digest)
        if refusal is not None:
            self._refused.move_to_end(digest)
            # A fresh one: a raised exception collects the traceback of everyone it passed.
            raise Invalid(refusal.code, refusal.message, **refusal.details)
        return None

    def remember(self, checked: CheckedTransaction) -> None:
        """Keep what `check_transaction` returned for this chain."""
        if checked.raw in self._checked:
            self._checked.move_to_end(checked.raw)
            return
        self._checked[checked.raw] = checked
        self._bytes += len(checked.raw)
        while len(self._checked) > self._count_max or self._bytes > self._bytes_max:
            _, oldest = self._checked.popitem(last=False)
            self._bytes -= len(oldest.raw)

    def remember_refused(self, raw: bytes, refusal: Invalid) -> None:
        """Keep what `check_transaction` raised."""
        self._refused[raw_digest(raw)] = Invalid(refusal.code, refusal.message, **refusal.details)
        while len(self._refused) > self._refused_count_max:
            self._refused.popitem(last=False)
