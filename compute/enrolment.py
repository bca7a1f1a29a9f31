"""What a contributor settles when it first joins: its folder, its chain, its own address."""

import socket
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Final

from compute.environment import parse_host_port
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.sdk.client import Client
from p2p_aios.units import Address, Hash

PIN: Final = "chain-id"
"""File in a worker's folder: the only chain that its agent signs for."""
LOOPBACK_FIRST: Final = 160
"""Last parts of the loopback addresses that workers take by themselves: from here to 254."""


def default_folder(home: Path, contributor: Address) -> Path:
    """One folder a key: its committed updates must not be mixed with another's."""
    return home / "workers" / format_address(contributor)


def parse_chain_id(text: str) -> Hash:
    """Raises Invalid(`chain_id_malformed`)."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise Invalid(
            "chain_id_malformed", f"{text!r} is not 64 hex digits; see `aios node status`"
        )
    return Hash(value)


async def settle_chain(
    folder: Path, named: Hash | None, rpc: str | None, token: str | None
) -> Hash:
    """The chain to sign for: what was named, else pinned earlier, else what the node tells.

    It is pinned in `folder`, so that no node can lead the key to another chain later. A node that
    does not answer is not needed where the chain is known.

    Raises Invalid(`chain_differs`); Unavailable: `node_unreachable`, `unknown_chain`,
    `folder_unwritable`.
    """
    pinned = _read_pin(folder)
    known = named or pinned
    told = await _ask_chain(rpc, token, is_needed=known is None)
    for other, owner in ((pinned, f"{folder} belongs to"), (told, f"the node at {rpc} follows")):
        if known is not None and other is not None and other != known:
            raise Invalid(
                "chain_differs",
                f"{owner} chain {other.hex()}, not {known.hex()}: name another --folder or --rpc",
            )
    chain_id = known or told
    if chain_id is None:
        raise Unavailable("unknown_chain", "name the chain by --chain-id, or a node by --rpc")
    if pinned is None:
        _write_pin(folder, chain_id)
    return chain_id


def address_towards(head: str, contributor: Address) -> str:
    """This machine's address in the cluster whose head is at host:port.

    Where the head is on a loopback address, each raylet needs one of its own in the same network:
    one that follows from the contributor's key. Raises Unavailable(`head_unreachable`).
    """
    host, port = parse_host_port(head)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            # No packet leaves: it only asks the system which of its addresses it would use.
            probe.connect((host, port))
            found, reached = probe.getsockname()[0], probe.getpeername()[0]
    except OSError as error:
        raise Unavailable(
            "head_unreachable", f"no way to {head} ({error.strerror or error}); is it the head's?"
        ) from None
    if not ip_address(reached).is_loopback:
        return str(found)
    network = int(ip_address(reached)) & ~0xFF
    offset = int.from_bytes(contributor[-4:], "big") % (255 - LOOPBACK_FIRST)
    return str(IPv4Address(network + LOOPBACK_FIRST + offset))


async def _ask_chain(rpc: str | None, token: str | None, is_needed: bool) -> Hash | None:
    if rpc is None:
        return None
    try:
        async with Client(rpc, token) as client:
            return (await client.status()).chain_id
    except AiosError:
        if is_needed:
            raise
        return None


def _read_pin(folder: Path) -> Hash | None:
    """Raises Invalid(`chain_id_malformed`) for a damaged pin."""
    try:
        return parse_chain_id((folder / PIN).read_text().strip())
    except FileNotFoundError:
        return None


def _write_pin(folder: Path, chain_id: Hash) -> None:
    try:
        (folder / PIN).write_text(f"{chain_id.hex()}\n")
    except OSError as error:
        raise Unavailable("folder_unwritable", f"cannot write {folder}: {error.strerror}") from None
