"""`aios doctor`: what is wrong with this machine and the node, and what to do about it."""

import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from p2p_aios.cli import diagnosis
from p2p_aios.cli.diagnosis import Finding
from p2p_aios.cli.display import emit_json
from p2p_aios.cli.session import ask, current
from p2p_aios.errors import AiosError
from p2p_aios.types.views import GatewayState, NodeStatus

TIP_AGE_S_MAX: Final = 30.0
"""An older tip means a stopped chain, a lagging node or a wrong clock."""
CLOCK_AHEAD_S_MAX: Final = 1.0
_TCP: Final = re.compile(r"/ip[46]/([^/]+)/tcp/([0-9]{1,5})(?:/|$)")

app = typer.Typer(add_completion=False)


@app.command()
def doctor(
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="TOML file of a node that does not run: its ports."),
    ] = None,
) -> None:
    """Look for what is wrong, and say what to do.

    Packages and Ray's version, disk, open files, clock, ports, compiler, keys, orphaned processes,
    the Ray head and the node with its peers. Ends with status 1 where something does not work.

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
        yield from _check_node()
    else:
        yield from _check_config(config)


def _check_config(file: Path) -> Iterator[Finding]:
    from p2p_aios.node.config import load_config

    try:
        config = load_config(file)
    except AiosError as fault:
        yield Finding("configuration", "fault", fault.message, f"mend {file}")
        return
    yield Finding("configuration", "ok", str(file))
    yield diagnosis.check_disk(config.node.data)
    yield diagnosis.check_port("rpc", *config.rpc.address)
    found = _TCP.match(config.network.listen)
    if found:
        yield diagnosis.check_port("network", found[1], int(found[2]))
    for key in (config.node.peer_key, config.node.validator_key):
        if key is not None and not key.is_file():
            yield Finding("keys", "fault", f"{key} is missing", "restore it, or aios node init")


def _check_node() -> Iterator[Finding]:
    """The node that other commands would ask."""
    place = current().rpc
    try:
        status = ask(lambda client: client.status())
    except AiosError as fault:
        remedy = "start one: aios testnet up, or aios node run; or name it: --rpc, AIOS_RPC"
        yield Finding("node", "warning", f"{place}: {fault.message}", remedy)
        return
    yield from judge(status, place, time.time())


def judge(status: NodeStatus, place: str, now_s: float) -> Iterator[Finding]:
    """What a node's own words say about it."""
    age_s = now_s - status.timestamp_ms / 1000
    told = f"{place}: height {status.height}, {status.peers} peers, version {status.version}"
    if age_s < -CLOCK_AHEAD_S_MAX:
        detail = f"{told}; its last block is {-age_s:.1f} s ahead of this machine's clock"
        yield Finding("clock", "fault", detail, "set the clock: start chrony or systemd-timesyncd")
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
    for finding in findings:
        print(f"{finding.state:<8} {finding.subject:<{width}}  {finding.detail}")
        if finding.remedy:
            print(f"{'':<8} {'':<{width}}  → {finding.remedy}")
