"""Committees by epoch (DESIGN §6): members of e + 2 are fixed at the end of e, the seed after.

Membership is fixed for now: every registered validator, with equal influence.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import Validator
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import CHAIN, COMMITTEES, VALIDATOR_INDEX, VALIDATORS, epoch_key
from p2p_aios.params import Params
from p2p_aios.types.committee import Committee, Member
from p2p_aios.units import ZERO_HASH, Epoch

INFLUENCE: Final = 1
"""Of every validator, until contributions are scored."""
CAPPED_SEATS_MIN: Final = 4
"""From this many seats up no seat's weight exceeds 30 %."""


def members_of(validators: tuple[Validator, ...]) -> tuple[Member, ...]:
    """Seats ascending by address."""
    ordered = sorted(validators, key=lambda validator: validator.address)
    weights = cap_weights([INFLUENCE] * len(ordered))
    return tuple(
        Member(v.address, v.public_key, v.peer_id, weight)
        for v, weight in zip(ordered, weights, strict=True)
    )


def cap_weights(influences: Sequence[int]) -> tuple[int, ...]:
    """Voting weights from influences, in the same order (DESIGN §6, "Committee").

    From four seats up no seat counts for more than 30 %: with the smallest k <= 3 that fits, the k
    largest get floor(3 * rest / (10 - 3k)), rest being what the others hold together.
    """
    if len(influences) < CAPPED_SEATS_MIN:
        return tuple(influences)
    ordered = sorted(influences, reverse=True)
    for capped in range(CAPPED_SEATS_MIN):
        cap = 3 * sum(ordered[capped:]) // (10 - 3 * capped)
        if ordered[capped] <= cap:
            break
    # With three capped the cap is thrice the rest, so the loop always breaks.
    return tuple(min(influence, cap) for influence in influences)


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
