"""Committees by epoch (DESIGN §6): members of e + 2 are fixed at the end of e, the seed after.

Membership is fixed for now: every registered validator, with equal weight.
"""

from dataclasses import replace

from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import Validator
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import CHAIN, COMMITTEES, VALIDATOR_INDEX, VALIDATORS, epoch_key
from p2p_aios.params import Params
from p2p_aios.types.committee import Committee, Member
from p2p_aios.units import ZERO_HASH, Epoch

WEIGHT = 1
"""Of every seat, until influence weighs them."""


def members_of(validators: tuple[Validator, ...]) -> tuple[Member, ...]:
    """Seats ascending by address."""
    ordered = sorted(validators, key=lambda validator: validator.address)
    return tuple(Member(v.address, v.public_key, v.peer_id, WEIGHT) for v in ordered)


def registered_validators(state: State) -> tuple[Validator, ...]:
    """All validators, ascending by address."""
    index = state.require(VALIDATOR_INDEX)
    return tuple(state.require(VALIDATORS, address) for address in index.addresses)


def turn_committees(env: Environment) -> None:
    """At an epoch's last block: fix the members of e + 2, seed e + 1, drop what nobody needs."""
    state, epoch = env.state, env.context.epoch
    if epoch > 0:
        # The seed of epoch 1 is genesis's, like that of epoch 0.
        upcoming = state.require(COMMITTEES, epoch_key(epoch + 1))
        seeded = replace(upcoming, seed=state.require(CHAIN).mix)
        state.put(COMMITTEES, epoch_key(epoch + 1), seeded)
    decided = Committee(Epoch(epoch + 2), members_of(registered_validators(state)), ZERO_HASH)
    state.put(COMMITTEES, epoch_key(epoch + 2), decided)
    stale = epoch - kept_epochs(env.context.params)
    if stale >= 0:
        state.put(COMMITTEES, epoch_key(stale), None)


def kept_epochs(params: Params) -> int:
    """How many past epochs' committees stay: for evidence, and for panels that still attest."""
    panel_epochs = -(-params.window_blocks_max // params.epoch_blocks) + 1
    return max(params.evidence_epochs, panel_epochs)
