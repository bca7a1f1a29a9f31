"""What `aios node init` writes: one folder with all that `aios node run` needs."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from p2p_aios.crypto.keys import format_address
from p2p_aios.crypto.keystore import generate_key, save_keystore
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.types.genesis import Genesis, chain_id, genesis_from_json

GENESIS_BYTES_MAX: Final = 16 << 20
_CONFIG: Final = """\
# An AIOS node. Paths are relative to this file. Unknown keys are errors.

[node]
genesis = "genesis.json"    # the chain's parameters and first state; its hash is the chain id
data = "data"               # chain, journal and blobs; created at need
peer_key = "peer.pem"       # identity on the peer-to-peer network
{validator}
# passphrase_file = "passphrase"    # its first line unlocks encrypted keys

[network]
listen = {listen}
peers = {peers}             # multiaddresses to dial, and to dial again

[rpc]
listen = {rpc_listen}
# token = "a long random text"      # asked for by whatever changes state; needed beyond loopback

# [rpc.limits]                      # what clients may ask; these are the defaults
# calls_per_s = 200                 # of one client address that does not send the token
# calls_burst = 1000                # what it may ask at once
# limits_loopback = false           # whether programs of this machine are held to that, too
# connections_max = 256             # open at once
# client_connections_max = 64       # of these, by one client address
# batch_max = 100                   # calls in one message
# body_bytes_max = 1048576          # of one message
# blob_bytes_max = 67108864         # of a blob that is put here

# [compute]                         # for a node with a Ray cluster of its own
# ray_address = "127.0.0.2:6379"
# ray_token_file = "ray.token"
# node_ip = "127.0.0.2"

# [store]
# keep_blocks = 7200                # blocks of state history; 0 keeps everything
# blob_quota_bytes = 8589934592

# [log]
# level = "INFO"
# format = "text"                   # or "json": one object a line
"""


@dataclass(frozen=True, slots=True)
class NodeFolder:
    folder: Path
    genesis: Path
    listen: str
    rpc_listen: str
    peers: tuple[str, ...]
    is_validator: bool


def write_node_folder(wanted: NodeFolder) -> dict[str, str | None]:
    """Write the folder, which must not exist; what was made, for display.

    Raises Invalid: `address_malformed`, `folder_exists`, `genesis_unreadable`, `schema_mismatch`;
    Unavailable(`folder_unwritable`).
    """
    # Imported here: it brings libp2p along.
    from p2p_aios.network.identity import parse_address

    for peer in wanted.peers:
        parse_address(peer)
    genesis, text = _read_genesis(wanted.genesis)
    try:
        wanted.folder.mkdir(parents=True, mode=0o700)
        (wanted.folder / "genesis.json").write_text(text)
        (wanted.folder / "node.toml").write_text(render_config(wanted))
    except FileExistsError:
        raise Invalid("folder_exists", f"{wanted.folder} exists; choose a new folder") from None
    except OSError as error:
        raise Unavailable(
            "folder_unwritable", f"cannot write {wanted.folder}: {error.strerror}"
        ) from None
    save_keystore(wanted.folder / "peer.pem", generate_key(), None)
    made = {"config": str(wanted.folder / "node.toml"), "chain_id": chain_id(genesis).hex()}
    if not wanted.is_validator:
        return {**made, "validator": None}
    validator = generate_key()
    save_keystore(wanted.folder / "validator.pem", validator, None)
    return {
        **made,
        "validator": format_address(validator.address),
        "validator_public_key": validator.public_key.hex(),
    }


def render_config(wanted: NodeFolder) -> str:
    """The commented TOML."""
    line = 'validator_key = "validator.pem"    # votes and attests'
    # A JSON text, and a list of them, is TOML as well.
    return _CONFIG.format(
        validator=line if wanted.is_validator else f"# {line}",
        listen=json.dumps(wanted.listen),
        peers=json.dumps(wanted.peers),
        rpc_listen=json.dumps(wanted.rpc_listen),
    )


def _read_genesis(file: Path) -> tuple[Genesis, str]:
    try:
        with file.open("rb") as source:
            text = source.read(GENESIS_BYTES_MAX).decode("utf-8")
        return genesis_from_json(json.loads(text)), text
    except (OSError, ValueError) as error:
        raise Invalid("genesis_unreadable", f"cannot read {file}: {error}") from None
