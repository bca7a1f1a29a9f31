"""`aios doctor`: what is wrong with this machine and the node, and what to do about it."""

import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from p2p_aios.cli import diagnosis
from p2p_aios.cli.diagnosis import Finding
from p2p_aios.cli.display import emit_json
from p2p_aios.cli.session import ask, current
from p2p_aios.codec.url import format_url
from p2p_aios.errors import AiosError, Unavailable
from p2p_aios.types.views import GatewayState, NodeStatus

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

TIP_AGE_S_MAX: Final = 30.0
"""An older tip means a stopped chain or a lagging node."""
CLOCK_AHEAD_S_MAX: Final = 1.0
"""Most by which the last block may be ahead of this machine's clock."""
CLOCK_BEHIND_S_MAX: Final = 5.0
"""A tip that is older although the chain grows tells of a wrong clock."""
SECOND_LOOK_S: Final = 1.5
"""Time in which a chain that lives gets another block."""
ANSWER_S_MAX: Final = 5.0
PEERS_DIALLED_MAX: Final = 8
RPC_PORT: Final = 8645
NETWORK_PORT: Final = 9645
"""Where `aios node init` lets a node listen."""
_TCP: Final = re.compile(r"/(?:ip[46]|dns[46]?)/([^/]+)/tcp/([0-9]{1,5})(?:/|$)")
_SET_CLOCK: Final = "set the clock: start chrony, systemd-timesyncd or ntpd"

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="TOML file of the node to look at."),
    ] = None,
) -> None:
    """Look for what is wrong, and say what to do.

    Packages and Ray's version, disk, open files, clock, compiler, keys, orphaned processes, the Ray
    head, the node and its peers; where no node runs, the ports that one needs. Ends with status 1
    where something does not work.

    \b
    aios doctor
    aios doctor --config mynode/node.toml
    """
    findings = list(examine(config))
    if current().is_json:
        emit_json([asdict(finding) for finding in findings])
    else:
        _print(findings)
    faults = sum(finding.state == "fault" for finding in findings)
    if faults:
        raise typer.Exit(1)


def examine(config: Path | None) -> Iterator[Finding]:
    """Every check; none changes anything."""
    home = current().home
    yield from diagnosis.check_packages()
    yield diagnosis.check_disk(home)
    yield diagnosis.check_files()
    yield from diagnosis.check_clock()
    yield diagnosis.check_compiler()
    yield from diagnosis.check_keys(current().keys)
    yield from diagnosis.check_leftovers()
    if config is None:
        yield from _check_here()
    else:
        yield from _check_config(config)


def _check_here() -> Iterator[Finding]:
    """The node and the cluster that other commands would ask; where none runs, room for one."""
    head, token = os.environ.get("AIOS_RAY_ADDRESS"), os.environ.get("AIOS_RAY_TOKEN_FILE")
    if head is not None:
        yield from diagnosis.check_ray_head(head, None if token is None else Path(token))
    place = current().rpc
    try:
        yield from _check_node(place)
    except AiosError as fault:
        remedy = "start one: aios testnet up, or aios node run; or name it: --rpc, AIOS_RPC"
        told = fault.message if place in fault.message else f"{place}: {fault.message}"
        yield Finding("node", "warning", told, remedy)
        yield diagnosis.check_port("rpc", "127.0.0.1", RPC_PORT)
        yield diagnosis.check_port("network", "0.0.0.0", NETWORK_PORT)


def _check_config(file: Path) -> Iterator[Finding]:
    """A node's own configuration: what it needs to start, or how it is if it runs."""
    from p2p_aios.node.config import load_config

    try:
        config = load_config(file)
    except AiosError as fault:
        yield Finding("configuration", "fault", fault.message, f"mend {file}")
        return
    yield Finding("configuration", "ok", str(file))
    yield diagnosis.check_disk(config.node.data)
    for key in (config.node.peer_key, config.node.validator_key):
        if key is not None and not key.is_file():
            yield Finding("keys", "fault", f"{key} is missing", "restore it, or aios node init")
    if config.compute is not None:
        section = config.compute
        yield from diagnosis.check_ray_head(section.ray_address, section.ray_token_file)
    host, port = config.rpc.address
    try:
        yield from _check_node(format_url(host, port))
    except AiosError:
        yield diagnosis.check_port("rpc", host, port)
        if listen := _TCP.match(config.network.listen):
            yield diagnosis.check_port("network", listen[1], int(listen[2]))
        yield from _check_peers(config.network.peers)


def _check_peers(peers: Sequence[str]) -> Iterator[Finding]:
    """Of a node that does not run: whether it would find anybody."""
    remedy = "ask who runs a node for its address: aios node address; network.peers takes several"
    if not peers:
        yield Finding("peers", "warning", "no peer to dial is configured", remedy)
    for peer in peers[:PEERS_DIALLED_MAX]:
        if found := _TCP.match(peer):
            yield diagnosis.check_dial("peers", found[1], int(found[2]), remedy)


def _check_node(place: str) -> Iterator[Finding]:
    """Raises as the client where the node does not answer."""
    status, now_s = _status(place), time.time()
    age_s, is_growing = now_s - status.timestamp_ms / 1000, False
    if age_s > CLOCK_BEHIND_S_MAX and not status.is_syncing:
        time.sleep(SECOND_LOOK_S)
        again = _status(place)
        is_growing = again.height > status.height and not again.is_syncing
    yield from judge(status, place, now_s, is_growing=is_growing)


def _status(place: str) -> NodeStatus:
    """Patience ends soon: what listens there may be no node, and never say a word."""
    import trio

    async def look(client: "Client") -> NodeStatus:
        with trio.move_on_after(ANSWER_S_MAX):
            return await client.status()
        raise Unavailable("node_unreachable", f"{place} takes connections, but answers nothing")

    return ask(look, place)


def judge(
    status: NodeStatus, place: str, now_s: float, *, is_growing: bool = False
) -> Iterator[Finding]:
    """What a node's own words say about it, and about this machine's clock.

    is_growing: whether a second look found more blocks, and no old ones being fetched.
    """
    age_s = now_s - status.timestamp_ms / 1000
    told = f"{place}: height {status.height}, peers {status.peers}, version {status.version}"
    if age_s < -CLOCK_AHEAD_S_MAX:
        detail = f"{told}; its last block is {-age_s:.1f} s ahead of this machine's clock"
        yield Finding("clock", "fault", detail, _SET_CLOCK)
    elif age_s > CLOCK_BEHIND_S_MAX and is_growing:
        detail = f"{told}; new blocks look {age_s:.0f} s old: this machine's clock is ahead"
        yield Finding("clock", "fault", detail, _SET_CLOCK)
    elif age_s > TIP_AGE_S_MAX and status.height > 0:
        remedy = "it may be catching up (aios node status); else look at its log, and at the clock"
        yield Finding("node", "warning", f"{told}; its last block is {age_s:.0f} s old", remedy)
    else:
        yield Finding("node", "ok", told)
    if status.peers == 0:
        remedy = "name others under network.peers in its node.toml; open its port in the firewall"
        yield Finding("node", "warning", "the node has no peers", remedy)
    if status.gateway is GatewayState.DOWN:
        remedy = "see gateway.log in its data folder; is the Ray head of [compute] running?"
        yield Finding("node", "fault", "the node's compute gateway is down", remedy)


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.subject) for finding in findings)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for finding in findings:
        head = f"{finding.state:<8} {finding.subject:<{width}}  "
        _print_below(head, finding.detail, columns)
        if finding.remedy:
            _print_below(" " * len(head), f"→ {finding.remedy}", columns)


def _print_below(head: str, text: str, columns: int) -> None:
    """Text in lines that fit, below each other; words such as paths stay whole."""
    inside = max(20, columns - len(head))
    lines = textwrap.wrap(text, inside, break_long_words=False, break_on_hyphens=False)
    print(head + f"\n{' ' * len(head)}".join(lines))
