"""Free TCP ports, chosen once per testnet."""

import random
import socket
from collections.abc import Mapping
from typing import Final

from p2p_aios.errors import Unavailable

PORT_LEAST: Final = 20_000
PORT_MOST: Final = 32_000
"""Below the range from which systems draw the ports of outgoing connections (from 32,768 on)."""
ATTEMPTS_MAX: Final = 1_000


def choose_ports(count: int) -> tuple[int, ...]:
    """`count` different ports that nobody listens on.

    Raises Unavailable(`ports_exhausted`).
    """
    chosen: list[int] = []
    for _ in range(ATTEMPTS_MAX):
        if len(chosen) == count:
            return tuple(chosen)
        port = random.randrange(PORT_LEAST, PORT_MOST)
        if port not in chosen and is_free(port):
            chosen.append(port)
    raise Unavailable(
        "ports_exhausted", f"found no {count} free ports in {PORT_LEAST}..{PORT_MOST}"
    )


def is_free(port: int) -> bool:
    """Whether one could listen on `port`, on every interface (Ray's head does)."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: what lingers of closed connections does not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))
        except OSError:
            return False
    return True


def require_free(ports: Mapping[str, int]) -> None:
    """Raises Unavailable(`testnet_port_taken`) naming the first port that another program holds."""
    for purpose, port in ports.items():
        if not is_free(port):
            raise Unavailable(
                "testnet_port_taken",
                f"port {port} ({purpose}) is taken by another program; stop that, or choose new "
                "ports (and a new chain) with `aios testnet up --fresh`",
                port=port,
                purpose=purpose,
            )
