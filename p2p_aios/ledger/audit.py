"""A full scan that trusts no running total: every unit is found where it lies and added up."""

from collections.abc import Iterable
from dataclasses import dataclass

from p2p_aios.errors import Corrupt
from p2p_aios.ledger.records import Supply
from p2p_aios.ledger.tables import ACCOUNTS, JOBS, ROUNDS, SUPPLY, TASKS


@dataclass(frozen=True, slots=True)
class SupplyAudit:
    """What a scan of the whole state found, beside what `Supply` claims."""

    supply: Supply
    accounts: int
    """Sum of the balances found."""
    escrow: int
    """Sum of what jobs and tasks were found to hold."""
    bonds: int
    """Sum of what rounds were found to hold."""

    @property
    def is_sound(self) -> bool:
        """Whether the totals are true and circulating + reserve − burn_debt = 1000 × dormant."""
        found = (self.accounts, self.escrow, self.bonds)
        claimed = (self.supply.accounts, self.supply.escrow, self.supply.bonds)
        return found == claimed and self.supply.is_balanced()


def audit_supply(items: Iterable[tuple[bytes, bytes]]) -> SupplyAudit:
    """Scan all (key, value) pairs of a state. Raises Corrupt where a record does not decode."""
    supply: Supply | None = None
    accounts = escrow = bonds = 0
    for key, value in items:
        match key[:1]:
            case ACCOUNTS.prefix:
                accounts += ACCOUNTS.decode(value).balance
            case JOBS.prefix:
                escrow += JOBS.decode(value).escrow
            case TASKS.prefix:
                escrow += TASKS.decode(value).escrow
            case ROUNDS.prefix:
                bonds += ROUNDS.decode(value).bonds
            case SUPPLY.prefix:
                supply = SUPPLY.decode(value)
            case _:
                pass
    if supply is None:
        raise Corrupt("state_missing", "the state has no supply record")
    return SupplyAudit(supply, accounts, escrow, bonds)
