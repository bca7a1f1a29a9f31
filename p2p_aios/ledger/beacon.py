"""The randomness beacon on chain (DESIGN §6): each block reveals, the mix absorbs.

Deviation: a new anchor counts two epochs after its registration, not at once. Whoever leads two
blocks in a row knows the mix after the first; could it change its chain there, it would choose the
mix after the second. With two epochs between, a reveal is fixed before the mix it meets is known;
for the same reason a successor cannot be replaced, nor put off, before it counts.
"""

from dataclasses import dataclass, replace

from p2p_aios.crypto.hashing import sha256, signing_digest
from p2p_aios.errors import Invalid
from p2p_aios.ledger.environment import Environment
from p2p_aios.ledger.records import Chain, Validator
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import CHAIN, VALIDATORS
from p2p_aios.types.transaction import SetBeaconAnchor
from p2p_aios.units import Address, Epoch, Hash

ANCHOR_DELAY_EPOCHS = 2
"""Epochs from an anchor's registration to its first use."""


@dataclass(frozen=True, slots=True)
class BeaconPosition:
    """Where a validator's chain stands: its next block carries reveal `reveals` of `anchor`."""

    anchor: Hash
    reveals: int
    """Reveals since the anchor, so also the number of the next one."""


def genesis_mix(chain_id: Hash) -> Hash:
    """The mix before the first block."""
    return signing_digest("beacon-mix", chain_id, b"")


def beacon_position(validator: Validator, epoch: Epoch) -> BeaconPosition:
    """What a block of `epoch` must reveal next if `validator` proposes it."""
    current = _with_due_anchor(validator, epoch)
    return BeaconPosition(current.anchor, current.reveals)


def apply_reveal(env: Environment) -> None:
    """Check the header's reveal, advance the proposer's chain and the mix.

    Raises Invalid: `unknown_proposer`, `beacon_reveal_wrong`.
    """
    context, state = env.context, env.state
    registered = state.get(VALIDATORS, context.proposer)
    if registered is None:
        raise Invalid("unknown_proposer", "the proposer is no registered validator")
    validator = _with_due_anchor(registered, context.epoch)
    if sha256(context.reveal) != validator.head:
        raise Invalid(
            "beacon_reveal_wrong", "the reveal is not the preimage of the proposer's last one"
        )
    revealed = replace(
        validator,
        head=context.reveal,
        reveals=validator.reveals + 1,
        proposed=validator.proposed + 1,
    )
    state.put(VALIDATORS, context.proposer, revealed)
    mix = sha256(state.require(CHAIN).mix + context.reveal)
    state.put(CHAIN, b"", Chain(context.height, mix))


def is_anchor_pending(validator: Validator, epoch: Epoch) -> bool:
    """Whether a registered successor does not count yet."""
    return validator.next_anchor is not None and validator.next_anchor_epoch > epoch


def check_anchor(state: State, sender: Address, epoch: Epoch) -> Validator:
    """The sender's record, if it may register a chain in a block of `epoch`.

    Raises Invalid: `not_a_validator`, `beacon_anchor_pending`.
    """
    validator = state.get(VALIDATORS, sender)
    if validator is None:
        raise Invalid("not_a_validator", "only a validator's key registers a beacon anchor")
    if is_anchor_pending(validator, epoch):
        raise Invalid(
            "beacon_anchor_pending",
            f"the anchor registered last counts from epoch {validator.next_anchor_epoch}; "
            "register another one then",
        )
    return validator


def set_beacon_anchor(env: Environment, sender: Address, action: SetBeaconAnchor) -> None:
    """Register the chain that replaces the sender's. Raises as `check_anchor`."""
    validator = check_anchor(env.state, sender, env.context.epoch)
    current = _with_due_anchor(validator, env.context.epoch)
    due = Epoch(env.context.epoch + ANCHOR_DELAY_EPOCHS)
    successor = replace(current, next_anchor=action.anchor, next_anchor_epoch=due)
    env.state.put(VALIDATORS, sender, successor)


def _with_due_anchor(validator: Validator, epoch: Epoch) -> Validator:
    anchor = validator.next_anchor
    if anchor is None or epoch < validator.next_anchor_epoch:
        return validator
    return replace(
        validator,
        anchor=anchor,
        head=anchor,
        reveals=0,
        next_anchor=None,
        next_anchor_epoch=Epoch(0),
    )
