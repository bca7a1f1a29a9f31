"""Accounts: balances, fees, nonces, transfers."""

from typing import Final

from p2p_aios.errors import Invalid, invariant
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import Account
from p2p_aios.ledger.state import State
from p2p_aios.ledger.supply import Purse, move
from p2p_aios.ledger.tables import ACCOUNTS
from p2p_aios.params import Params
from p2p_aios.types.event import Transferred
from p2p_aios.types.learning import SubmitTask
from p2p_aios.types.transaction import Action, CheckedTransaction, Transfer
from p2p_aios.units import Address, Amount, Height, format_amount

ROUND_BYTES: Final = 512
"""What a round of a learning task adds to state and receipts of itself, at most..."""
SEAT_BYTES: Final = 128
"""...and for each seat. What its commits, reveals and attestations add, their senders pay."""
_EMPTY: Final = Account(Amount(0), 0)


def account_of(state: State, address: Address) -> Account:
    """The account, empty where nobody has used it yet."""
    return state.get(ACCOUNTS, address) or _EMPTY


def debit(state: State, address: Address, amount: int) -> None:
    """Raises Invalid(`funds_insufficient`)."""
    account = account_of(state, address)
    check_funds(account, amount)
    state.put(ACCOUNTS, address, Account(Amount(account.balance - amount), account.nonce))


def credit(state: State, address: Address, amount: int) -> None:
    account = account_of(state, address)
    state.put(ACCOUNTS, address, Account(Amount(account.balance + amount), account.nonce))


def pay_in(state: State, payer: Address, purse: Purse, amount: int) -> None:
    """Move from an account into escrow or bonds. Raises Invalid(`funds_insufficient`)."""
    debit(state, payer, amount)
    move(state, "accounts", purse, amount)


def pay_out(state: State, purse: Purse, payee: Address, amount: int) -> None:
    """Move from a purse to an account."""
    credit(state, payee, amount)
    move(state, purse, "accounts", amount)


def check_funds(account: Account, amount: int) -> None:
    """Raises Invalid(`funds_insufficient`)."""
    if account.balance < amount:
        raise Invalid(
            "funds_insufficient",
            f"the balance is {format_amount(account.balance)} AIOS, "
            f"{format_amount(Amount(amount))} are needed",
        )


def fee_min(params: Params, size_bytes: int, action: Action | None = None) -> int:
    """Least fee of a transaction of `size_bytes` whose action is `action`.

    A learning task writes rounds whether or not anybody serves it, and its budget comes back: so it
    pays for their bytes beforehand, as if it had sent them.
    """
    if isinstance(action, SubmitTask):
        size_bytes += action.rounds * (ROUND_BYTES + action.seats * SEAT_BYTES)
    return params.fee_base + params.fee_per_byte * size_bytes


def least_fee(params: Params, transaction: CheckedTransaction) -> int:
    """`fee_min` of this very transaction."""
    return fee_min(params, len(transaction.raw), transaction.body.action)


def check_form(params: Params, height: Height, transaction: CheckedTransaction) -> None:
    """What every block at `height` demands of a transaction, whatever the state.

    Raises Invalid: `too_large`, `expired`, `expires_too_far`.
    """
    size, expires = len(transaction.raw), transaction.body.expires
    if size > params.transaction_bytes_max:
        raise Invalid("too_large", f"{size} bytes, at most {params.transaction_bytes_max} allowed")
    if expires < height:
        raise Invalid("expired", f"could be included up to height {expires}, this is {height}")
    if expires > height + params.transaction_lifetime_blocks:
        raise Invalid(
            "expires_too_far",
            f"expires at {expires}; at height {height} at most "
            f"{height + params.transaction_lifetime_blocks} is accepted",
        )


def check_fee(params: Params, transaction: CheckedTransaction, account: Account) -> None:
    """Raises Invalid: `fee_too_low`, `funds_insufficient`."""
    least, fee = least_fee(params, transaction), transaction.body.fee
    if fee < least:
        raise Invalid(
            "fee_too_low",
            f"a fee of {format_amount(fee)} AIOS; this costs at least "
            f"{format_amount(Amount(least))} AIOS",
        )
    check_funds(account, fee)


def take_fee_and_nonce(env: Environment, sender: Address, account: Account, fee: int) -> None:
    """What a transaction costs whatever becomes of its action; `account` is the sender's."""
    invariant(account.balance >= fee, "a fee is checked before it is taken")
    paid = Account(Amount(account.balance - fee), account.nonce + 1)
    env.state.put(ACCOUNTS, sender, paid)
    env.fees += fee


def apply_transfer(env: Environment, sender: Address, action: Transfer) -> None:
    """Raises Invalid(`funds_insufficient`)."""
    debit(env.state, sender, action.amount)
    credit(env.state, action.recipient, action.amount)
    env.events.append(Transferred(sender, action.recipient, action.amount))
