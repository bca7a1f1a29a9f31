"""A node's TOML configuration.

What is here may differ between nodes of one chain; what may not lives in genesis (`params`).

    [node]
    genesis = "genesis.json"
    data = "data"
    validator_key = "validator.pem"     # leave out for a node that only follows
    peer_key = "peer.pem"

    [network]
    listen = "/ip4/127.0.0.1/tcp/9645"
    peers = ["/ip4/127.0.0.1/tcp/9646/p2p/16Uiu2HAm…"]

    [rpc]
    listen = "127.0.0.1:8645"

    [rpc.limits]                        # all of them: p2p_aios.rpc.config
    calls_per_s = 200

    [compute]                           # leave out for a node without a Ray cluster
    ray_address = "127.0.0.2:6379"
    ray_token_file = "ray.token"
    node_ip = "127.0.0.2"

    [store]
    keep_blocks = 7200                  # blocks of state history; 0 keeps everything: an archive

    [log]
    level = "INFO"
    format = "text"                     # or "json": one object a line

Paths are relative to the file. Unknown keys are errors.
"""

import tomllib
import types
import typing
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from p2p_aios.codec.limits import Range, Size
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.config import RpcLimits

KEEP_BLOCKS_MIN: Final = 64
"""A block being executed may stand this far below the tip; its trie must still be there."""
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS: Final = ("text", "json")
PORT_MAX: Final = 65_535

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class NodeSection:
    genesis: Path
    """Genesis in JSON; its hash is the chain id."""
    data: Path
    """Folder for chain, journal and blobs; created at need."""
    peer_key: Path
    """Keystore of the identity on the peer-to-peer network."""
    validator_key: Path | None = None
    """Keystore of the key that votes and attests."""
    passphrase_file: Path | None = None
    """First line unlocks the keystores; without it they must be unencrypted."""


@dataclass(frozen=True, slots=True)
class NetworkSection:
    listen: str
    """Multiaddr to listen on."""
    peers: tuple[str, ...] = ()
    """Multiaddrs to dial and keep dialing."""


@dataclass(frozen=True, slots=True)
class RpcSection:
    listen: str = "127.0.0.1:8645"
    """host:port of JSON-RPC and WebSocket; port 0 takes a free one."""
    token: Annotated[str, Size(16, 256)] | None = None
    """Bearer token asked for by methods that change something."""
    limits: RpcLimits = field(default_factory=RpcLimits)

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`. Raises Invalid(`config_malformed`)."""
        host, _, port = self.listen.rpartition(":")
        if not host or not port.isdecimal() or int(port) > PORT_MAX:
            raise Invalid(
                "config_malformed",
                f"rpc.listen is {self.listen!r}; it must be host:port, as in 127.0.0.1:8645",
            )
        return host.removeprefix("[").removesuffix("]"), int(port)


@dataclass(frozen=True, slots=True)
class ComputeSection:
    ray_address: str
    """host:port of the operator's Ray head."""
    ray_token_file: Path
    """Ray's cluster token; who holds it may run code on the whole cluster."""
    node_ip: str
    """This machine's address within the Ray cluster."""


@dataclass(frozen=True, slots=True)
class StoreSection:
    keep_blocks: int = 7200
    """Blocks of state history kept, at least KEEP_BLOCKS_MIN; 0 keeps everything (archive)."""
    blob_quota_bytes: int = 8 << 30
    """Most bytes of blobs held."""


@dataclass(frozen=True, slots=True)
class LogSection:
    level: str = "INFO"
    """One of LOG_LEVELS."""
    format: str = "text"
    """One of LOG_FORMATS; json writes one object a line."""


@dataclass(frozen=True, slots=True)
class NodeConfig:
    node: NodeSection
    network: NetworkSection
    rpc: RpcSection = field(default_factory=RpcSection)
    compute: ComputeSection | None = None
    store: StoreSection = field(default_factory=StoreSection)
    log: LogSection = field(default_factory=LogSection)


def load_config(path: Path) -> NodeConfig:
    """Read and check a configuration file.

    Raises Invalid: `config_missing`, `config_malformed`, `unknown_config_key`,
    `config_missing_key`, `config_out_of_range`; Unavailable(`config_unreadable`).
    """
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise Invalid(
            "config_missing", f"{path} does not exist; `aios node init` writes one"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Invalid("config_malformed", f"{path}: {error}") from None
    except OSError as error:
        raise Unavailable("config_unreadable", f"cannot read {path}: {error.strerror}") from None
    config = _section(NodeConfig, document, path.parent.resolve(), "")
    _check_values(config)
    return config


def _check_values(config: NodeConfig) -> None:
    """Raises Invalid: `config_malformed`, `config_out_of_range`."""
    _ = config.rpc.address
    keep, quota = config.store.keep_blocks, config.store.blob_quota_bytes
    if keep != 0 and keep < KEEP_BLOCKS_MIN:
        raise Invalid(
            "config_out_of_range",
            f"store.keep_blocks is {keep}; it must be 0 (all) or at least {KEEP_BLOCKS_MIN}",
        )
    if quota <= 0:
        raise Invalid("config_out_of_range", f"store.blob_quota_bytes is {quota}; name some room")
    if config.log.level not in LOG_LEVELS:
        raise Invalid(
            "config_out_of_range",
            f"log.level is {config.log.level!r}; it must be one of {', '.join(LOG_LEVELS)}",
        )
    if config.log.format not in LOG_FORMATS:
        raise Invalid(
            "config_out_of_range",
            f"log.format is {config.log.format!r}; it must be one of {', '.join(LOG_FORMATS)}",
        )


def _section(kind: type[S], table: Any, folder: Path, place: str) -> S:
    if not isinstance(table, dict):
        raise Invalid("config_malformed", f"{place.rstrip('.')} must be a table")
    hints = typing.get_type_hints(kind, include_extras=True)
    unknown = sorted(set(table) - set(hints))
    if unknown:
        raise Invalid(
            "unknown_config_key",
            f"unknown {place}{unknown[0]}; known here: {', '.join(sorted(hints))}",
        )
    required = {f.name for f in fields(kind) if _is_required(f)}  # type: ignore[arg-type]
    missing = sorted(required - set(table))
    if missing:
        raise Invalid("config_missing_key", f"{place}{missing[0]} is missing")
    values = {
        name: _value(hints[name], value, folder, f"{place}{name}") for name, value in table.items()
    }
    return kind(**values)


def _is_required(entry: Any) -> bool:
    return entry.default is MISSING and entry.default_factory is MISSING


def _value(hint: Any, value: Any, folder: Path, place: str) -> Any:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        hint = typing.get_args(hint)[0]  # which may be left out
    kind, *bounds = typing.get_args(hint) if typing.get_origin(hint) is Annotated else (hint,)
    if kind == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Invalid("config_malformed", f"{place} must be a list of strings")
        return tuple(value)
    if kind is Path and isinstance(value, str):
        return folder / value
    if isinstance(kind, type) and hasattr(kind, "__dataclass_fields__"):
        return _section(kind, value, folder, f"{place}.")
    if type(value) is not kind:
        name = "str" if kind is Path else kind.__name__
        raise Invalid("config_malformed", f"{place} must be of type {name}")
    for bound in bounds:
        _check_bound(bound, value, place)
    return value


def _check_bound(bound: Range | Size, value: Any, place: str) -> None:
    is_size = isinstance(bound, Size)
    number = len(value) if is_size else value
    if not bound.least <= number <= bound.most:
        # What has a size may be a secret.
        found = f"has {number} characters" if is_size else f"is {number}"
        raise Invalid(
            "config_out_of_range", f"{place} {found}; allowed are {bound.least} to {bound.most}"
        )
