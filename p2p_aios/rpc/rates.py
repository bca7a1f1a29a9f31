"""How much one client address may ask: a token bucket each.

A bucket holds up to `burst` calls and gains `calls_per_s`. A call takes one, a batch one for each
of its calls, before any of them runs; what cannot be taken is refused with the time to wait.
"""

from ipaddress import IPv6Address, ip_address
from typing import Final

from p2p_aios.errors import Unavailable

CLIENTS_MAX: Final = 4096
"""Addresses remembered. Past it the one that asked longest ago is forgotten, as if it were new."""
NETWORK_BITS: Final = 64
"""An IPv6 client has this prefix to itself, so the prefix is what is counted."""


class Rates:
    """The buckets of all clients. Times are seconds of any clock that only goes forward."""

    def __init__(self, calls_per_s: int, burst: int) -> None:
        self._calls_per_s = calls_per_s
        self._burst = burst
        self._buckets: dict[str, tuple[float, float]] = {}
        """Calls left and when that was; the one who asked last is last."""

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, client: str, calls: int, now_s: float) -> None:
        """Raises Unavailable(`rate_limited`) with `retry_ms`; nothing is taken then.

        More than a whole bucket at once costs a whole bucket: else it could never be asked.
        """
        calls = min(calls, self._burst)
        left = self._left(client, now_s)
        if left >= calls:
            self._keep(client, left - calls, now_s)
            return
        self._keep(client, left, now_s)
        retry_ms = int(1000 * (calls - left) / self._calls_per_s) + 1
        raise Unavailable(
            "rate_limited",
            f"more than {self._calls_per_s} calls/s from your address; wait {retry_ms} ms, "
            "or use the node's token",
            retry_ms=retry_ms,
        )

    def owe(self, client: str, calls: int, now_s: float) -> None:
        """Take what was used already, though it be more than is left."""
        self._keep(client, self._left(client, now_s) - calls, now_s)

    def _left(self, client: str, now_s: float) -> float:
        left, since_s = self._buckets.get(network_of(client), (float(self._burst), now_s))
        return min(self._burst, left + (now_s - since_s) * self._calls_per_s)

    def _keep(self, client: str, left: float, now_s: float) -> None:
        key = network_of(client)
        self._buckets.pop(key, None)
        self._buckets[key] = (left, now_s)
        if len(self._buckets) > CLIENTS_MAX:
            del self._buckets[next(iter(self._buckets))]


def network_of(client: str) -> str:
    """What stands for a client: its IPv4 address, or the network of its IPv6 address."""
    try:
        address = ip_address(client)
    except ValueError:
        return client
    if not isinstance(address, IPv6Address):
        return client
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.packed[: NETWORK_BITS // 8].hex()
