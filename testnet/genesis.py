"""Keys and genesis of a testnet.

Everybody starts with something to spend: fees are due from the first transaction on. What genesis
hands out comes out of the reserve.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from p2p_aios.crypto.beacon import beacon_chain, beacon_seed
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.crypto.keystore import generate_key
from p2p_aios.errors import Invalid
from p2p_aios.network.identity import peer_id_of
from p2p_aios.params import PRESETS, Params
from p2p_aios.types.genesis import Genesis, GenesisAccount, GenesisValidator
from p2p_aios.units import AIOS, Address, Amount, Millis

DORMANT_SAT: Final = 655_000_000_000_000
"""6.55 million bitcoin unmoved for five years, as published in March 2026 (paper §7.1)."""
TREASURY_BALANCE: Final = Amount(10_000_000 * AIOS)
WALLET_BALANCE: Final = Amount(1_000_000 * AIOS)
WORKING_BALANCE: Final = Amount(1_000 * AIOS)
"""Of workers, and of validators' two accounts: for fees and bonds."""


@dataclass(frozen=True, slots=True)
class ValidatorKeys:
    """A validator's three keys, none derived from another."""

    owner: KeyPair
    validator: KeyPair
    peer: KeyPair


def make_validator_keys() -> ValidatorKeys:
    return ValidatorKeys(generate_key(), generate_key(), generate_key())


def params_of(preset: str) -> Params:
    """Raises Invalid(`unknown_preset`)."""
    if preset not in PRESETS:
        raise Invalid(
            "unknown_preset", f"{preset!r} is no preset; choose from {', '.join(PRESETS)}"
        )
    return PRESETS[preset]


def make_genesis(
    network: str,
    params: Params,
    validators: tuple[ValidatorKeys, ...],
    balances: Mapping[Address, Amount],
    dormant_sat: int = DORMANT_SAT,
) -> Genesis:
    """Genesis of now; `balances` by address, to which every validator's working money is added."""
    funded = dict(balances)
    for keys in validators:
        for account in (keys.owner.address, keys.validator.address):
            funded[account] = WORKING_BALANCE
    return Genesis(
        network=network,
        timestamp_ms=Millis(time.time_ns() // 10**6),
        params=params,
        dormant_sat=dormant_sat,
        validators=tuple(_founder(keys, network, params) for keys in validators),
        accounts=tuple(GenesisAccount(address, funded[address]) for address in sorted(funded)),
    )


def _founder(keys: ValidatorKeys, network: str, params: Params) -> GenesisValidator:
    seed = beacon_seed(keys.validator.secret, network)
    chain = beacon_chain(seed, params.beacon_chain_length)
    return GenesisValidator(
        owner=keys.owner.address,
        public_key=keys.validator.public_key,
        peer_id=peer_id_of(keys.peer.secret),
        beacon_anchor=chain.anchor,
    )
