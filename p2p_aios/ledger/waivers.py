"""Who need not pay: what the chain wants of a validator, whose key need not hold funds, is free.

Free are a panel member's first attestation of a round, and the registration of a validator's next
beacon chain, which is possible once in two epochs. A free transaction that could not count is no
part of a block: nobody pays for the room it takes.
"""

from p2p_aios.ledger.accounts import check_fee, check_funds, least_fee
from p2p_aios.ledger.attestation import check_attestation, is_first_attestation
from p2p_aios.ledger.beacon import check_anchor
from p2p_aios.ledger.environment import epoch_of
from p2p_aios.ledger.records import Account
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import CHAIN
from p2p_aios.params import Params
from p2p_aios.types.learning import AttestRound
from p2p_aios.types.transaction import CheckedTransaction, SetBeaconAnchor


def require_payable(
    state: State, params: Params, transaction: CheckedTransaction, account: Account
) -> None:
    """The fee is enough, or waived, and `account`, the sender's, can pay it.

    Raises Invalid: `fee_too_low`, `funds_insufficient`; below the least fee, for an attestation or
    an anchor that could not count, the codes of `check_attestation` and `check_anchor`.
    """
    is_low = transaction.body.fee < least_fee(params, transaction)
    if is_low and _is_waived(state, params, transaction):
        check_funds(account, transaction.body.fee)
    else:
        check_fee(params, transaction, account)


def _is_waived(state: State, params: Params, transaction: CheckedTransaction) -> bool:
    """Raises Invalid as `check_attestation` and `check_anchor`."""
    sender = transaction.sender
    match transaction.body.action:
        case AttestRound() as action:
            check_attestation(state, sender, action)
            return is_first_attestation(state, sender, action)
        case SetBeaconAnchor():
            check_anchor(state, sender, epoch_of(state.require(CHAIN).height, params))
            return True
        case _:
            return False
