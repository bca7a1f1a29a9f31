"""Who a node is and which chain it belongs to: its keystores and its genesis."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.node.config import NodeConfig
from p2p_aios.types.genesis import Genesis, genesis_from_json

GENESIS_BYTES_MAX: Final = 16 << 20
PASSPHRASE_BYTES_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's own secrets."""

    peer: KeyPair
    """On the peer-to-peer network."""
    validator: KeyPair | None
    """None for a node that only follows."""


def load_genesis(path: Path) -> Genesis:
    """Raises Invalid: `genesis_missing`, `genesis_malformed`, `schema_mismatch`;
    Unavailable(`genesis_unreadable`)."""
    try:
        if path.stat().st_size > GENESIS_BYTES_MAX:
            raise Invalid("genesis_malformed", f"{path} is no genesis: it is too large")
        return genesis_from_json(json.loads(path.read_bytes()))
    except FileNotFoundError:
        raise Invalid(
            "genesis_missing", f"{path} does not exist; get it from the network"
        ) from None
    except OSError as error:
        raise Unavailable("genesis_unreadable", f"cannot read {path}: {error.strerror}") from None
    except RecursionError:
        raise Invalid("genesis_malformed", f"{path} is no genesis: it is nested deeply") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Invalid("genesis_malformed", f"{path}: {error}") from None


def load_identity(config: NodeConfig) -> Identity:
    """Open the keystores.

    Raises as `load_keystore`; Invalid: `passphrase_missing`; Unavailable(`passphrase_unreadable`).
    """
    section = config.node
    passphrase = None
    if section.passphrase_file is not None:
        passphrase = _read_passphrase(section.passphrase_file)
    peer = load_keystore(section.peer_key, passphrase)
    if section.validator_key is None:
        return Identity(peer, None)
    return Identity(peer, load_keystore(section.validator_key, passphrase))


def _read_passphrase(path: Path) -> str:
    """The file's first line."""
    try:
        with path.open("rb") as file:
            text = file.read(PASSPHRASE_BYTES_MAX).decode()
    except OSError as error:
        raise Unavailable(
            "passphrase_unreadable", f"cannot read {path}: {error.strerror}"
        ) from None
    except UnicodeDecodeError:
        raise Invalid("passphrase_missing", f"{path} is not a text file") from None
    lines = text.splitlines()
    if not lines or not lines[0]:
        raise Invalid("passphrase_missing", f"the first line of {path} is empty")
    return lines[0]
