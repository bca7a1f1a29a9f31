"""Who a node is and which chain it belongs to: its keystores and its genesis."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2p_aios.crypto.beacon import BeaconChain, beacon_chain, beacon_seed
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import Invalid
from p2p_aios.node.config import NodeConfig
from p2p_aios.types.genesis import Genesis, genesis_from_json

GENESIS_BYTES_MAX: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's own secrets."""

    peer: KeyPair
    validator: KeyPair | None
    beacon: BeaconChain | None
    """Of the validator."""


def load_genesis(path: Path) -> Genesis:
    """Raises Invalid: `genesis_missing`, `genesis_malformed`, `schema_mismatch`."""
    try:
        if path.stat().st_size > GENESIS_BYTES_MAX:
            raise Invalid("genesis_malformed", f"{path} is no genesis: it is too large")
        return genesis_from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise Invalid(
            "genesis_missing", f"{path} does not exist; get it from the network"
        ) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Invalid("genesis_malformed", f"{path}: {error}") from None


def load_identity(config: NodeConfig, genesis: Genesis) -> Identity:
    """Open the keystores. Raises as `load_keystore`."""
    section = config.node
    passphrase = None
    if section.passphrase_file is not None:
        passphrase = section.passphrase_file.read_text().splitlines()[0]
    peer = load_keystore(section.peer_key, passphrase)
    if section.validator_key is None:
        return Identity(peer, None, None)
    validator = load_keystore(section.validator_key, passphrase)
    beacon = beacon_chain(beacon_seed(validator.secret), genesis.params.beacon_chain_length)
    return Identity(peer, validator, beacon)
