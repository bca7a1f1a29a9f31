"""Whether an address can be listened on, and by us alone."""

import trio
from multiaddr import Multiaddr

from p2p_aios.errors import Unavailable


async def require_free(address: str) -> None:
    """libp2p listens with SO_REUSEPORT: a second node on the same port would start without
    complaint and take every other connection of the first.

    Raises Unavailable(`listen_failed`).
    """
    try:
        names = {protocol.name: value for protocol, value in Multiaddr(address).items()}
        family = trio.socket.AF_INET6 if "ip6" in names else trio.socket.AF_INET
        with trio.socket.socket(family, trio.socket.SOCK_STREAM) as probe:
            probe.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_REUSEADDR, 1)
            await probe.bind((names.get("ip4") or names["ip6"], int(names["tcp"])))
    except (OSError, LookupError, ValueError) as error:
        raise Unavailable(
            "listen_failed",
            f"cannot listen on {address} ({error}); write e.g. /ip4/0.0.0.0/tcp/4001, and let no"
            " other node use the port",
        ) from None
