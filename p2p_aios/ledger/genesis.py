"""The first state: what genesis grants, and the checks that make it a chain at all."""

from typing import Final

from p2p_aios.crypto.keys import address_of
from p2p_aios.errors import Invalid
from p2p_aios.ledger.beacon import genesis_mix
from p2p_aios.ledger.committees import members_of
from p2p_aios.ledger.records import (
    FAULT_EPOCHS_MAX,
    SUPPLY_PER_SATOSHI,
    Account,
    Chain,
    JobIndex,
    Supply,
    TaskIndex,
    Validator,
    ValidatorIndex,
    WorkerIndex,
)
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import (
    ACCOUNTS,
    CHAIN,
    COMMITTEES,
    JOB_INDEX,
    SUPPLY,
    TASK_INDEX,
    VALIDATOR_INDEX,
    VALIDATORS,
    WORKER_INDEX,
    epoch_key,
)
from p2p_aios.params import Params
from p2p_aios.types.block import BLOCK_BYTES_MAX, BLOCK_TRANSACTIONS_MAX
from p2p_aios.types.committee import Committee
from p2p_aios.types.genesis import Genesis, GenesisValidator, chain_id
from p2p_aios.types.transaction import TRANSACTION_BYTES_MAX
from p2p_aios.units import FIXED_ONE, Amount, Epoch, Height

_NOTHING: Final[dict[bytes, bytes]] = {}


def genesis_state(genesis: Genesis) -> dict[bytes, bytes]:
    """Full key to value of the state at height 0.

    Raises Invalid: `params_out_of_range`, `too_many_validators`, `genesis_duplicate`,
    `genesis_exceeds_supply`.
    """
    check_genesis(genesis)
    state = State(_NOTHING)
    mix = genesis_mix(chain_id(genesis))
    state.put(CHAIN, b"", Chain(Height(0), mix))
    for account in genesis.accounts:
        state.put(ACCOUNTS, account.address, Account(account.balance, 0))
    state.put(SUPPLY, b"", _first_supply(genesis))
    validators = tuple(_validator(founder) for founder in genesis.validators)
    for validator in validators:
        state.put(VALIDATORS, validator.address, validator)
    addresses = tuple(sorted(validator.address for validator in validators))
    state.put(VALIDATOR_INDEX, b"", ValidatorIndex(addresses))
    for epoch in (Epoch(0), Epoch(1)):
        committee = Committee(epoch, members_of(validators), mix)
        state.put(COMMITTEES, epoch_key(epoch), committee)
    state.put(WORKER_INDEX, b"", WorkerIndex(()))
    state.put(JOB_INDEX, b"", JobIndex((), ()))
    state.put(TASK_INDEX, b"", TaskIndex((), ()))
    return {key: value for key, value in state.writes().items() if value is not None}


def check_genesis(genesis: Genesis) -> None:
    """Raises as `genesis_state`."""
    params = genesis.params
    _check_params(params)
    if len(genesis.validators) > params.committee_seats_max:
        raise Invalid(
            "too_many_validators", f"at most {params.committee_seats_max} validators have seats"
        )
    keys = [founder.public_key for founder in genesis.validators]
    peers = [founder.peer_id for founder in genesis.validators]
    accounts = [account.address for account in genesis.accounts]
    for what, values in (("public keys", keys), ("peer ids", peers), ("accounts", accounts)):
        if len(set(values)) < len(values):
            raise Invalid("genesis_duplicate", f"two of the {what} are the same")
    granted = sum(account.balance for account in genesis.accounts)
    target = SUPPLY_PER_SATOSHI * genesis.dormant_sat
    if granted > target:
        raise Invalid(
            "genesis_exceeds_supply",
            f"accounts hold {granted} units, eq. (10) allows {target}",
        )


def _check_params(params: Params) -> None:
    bounds = (
        ("the shares' sum", params.validator_share + params.contributor_share, FIXED_ONE),
        ("evidence_epochs", params.evidence_epochs, FAULT_EPOCHS_MAX),
        ("block_transactions_max", params.block_transactions_max, BLOCK_TRANSACTIONS_MAX),
        ("block_bytes_max", params.block_bytes_max, BLOCK_BYTES_MAX),
        ("transaction_bytes_max", params.transaction_bytes_max, TRANSACTION_BYTES_MAX),
        ("transaction_bytes_max", params.transaction_bytes_max, params.block_bytes_max),
    )
    for name, value, most in bounds:
        if value > most:
            raise Invalid("params_out_of_range", f"{name} is {value}, at most {most} is possible")
    if min(params.validator_share, params.contributor_share) < 0:
        raise Invalid("params_out_of_range", "a share is negative")


def _first_supply(genesis: Genesis) -> Supply:
    granted = sum(account.balance for account in genesis.accounts)
    nothing = Amount(0)
    return Supply(
        genesis.dormant_sat,
        reserve=Amount(SUPPLY_PER_SATOSHI * genesis.dormant_sat - granted),
        burn_debt=nothing,
        accounts=Amount(granted),
        escrow=nothing,
        bonds=nothing,
        accrued=nothing,
        fees=nothing,
        treasury=nothing,
        reward=nothing,
    )


def _validator(founder: GenesisValidator) -> Validator:
    return Validator(
        address_of(founder.public_key),
        founder.owner,
        founder.public_key,
        founder.peer_id,
        anchor=founder.beacon_anchor,
        head=founder.beacon_anchor,
        reveals=0,
        next_anchor=None,
        next_anchor_epoch=Epoch(0),
        proposed=0,
        faults=0,
        fault_epochs=(),
        wrong_attestations=0,
    )
