"""What an operator may choose about the RPC."""

from dataclasses import dataclass, field
from typing import Annotated

from p2p_aios.codec.limits import Range, Size
from p2p_aios.rpc.dispatch import BATCH_MAX


@dataclass(frozen=True, slots=True)
class RpcLimits:
    """`[rpc.limits]` of a node's configuration."""

    body_bytes_max: Annotated[int, Range(1024, 1 << 30)] = 1 << 20
    """Largest JSON-RPC message."""
    blob_bytes_max: Annotated[int, Range(1024, 1 << 30)] = 64 << 20
    """Largest blob that is taken; a node holds a few of them in memory."""
    batch_max: Annotated[int, Range(1, 10_000)] = BATCH_MAX
    """Most calls in one message."""
    connections_max: Annotated[int, Range(1, 1 << 16)] = 256
    """Open at once, of all clients together."""
    client_connections_max: Annotated[int, Range(1, 1 << 16)] = 64
    """Of one client address, so that nobody takes them all."""
    calls_per_s: Annotated[int, Range(1, 10**6)] = 200
    """Of one client address without the token, over time."""
    calls_burst: Annotated[int, Range(1, 10**6)] = 1000
    """What it may ask at once."""
    limits_loopback: bool = False
    """Whether programs of this machine are held to what one client address may do as well."""


@dataclass(frozen=True, slots=True)
class RpcConfig:
    host: Annotated[str, Size(1, 255)] = "127.0.0.1"
    port: Annotated[int, Range(0, 65535)] = 8645
    """0 picks a free one."""
    token: Annotated[str, Size(16, 256)] | None = None
    """Bearer token for methods that change state; None leaves them open."""
    limits: RpcLimits = field(default_factory=RpcLimits)
