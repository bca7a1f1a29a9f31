"""What `aios testnet up` shows while it supervises: a live table, plain lines, or one JSON line."""

import time
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from p2p_aios.cli.display import emit_json
from testnet.ensemble import Ensemble
from testnet.service import Phase
from testnet.state import EnsembleState
from testnet.status import Clients, open_clients, overview_json, overview_tables, survey_of

VIEW_S: Final = 1.0
POLL_S: Final = 0.25

Watch = Callable[[Ensemble], Awaitable[None]]


def choose_watch(console: Console, as_json: bool) -> Watch:
    """A live view on a terminal; elsewhere lines, or with --json one object once it is ready."""
    if as_json:
        return _print_json_once
    if console.is_terminal:
        return lambda ensemble: _show_live(console, ensemble)
    return lambda ensemble: _print_changes(console, ensemble)


def describe(state: EnsembleState) -> str:
    """One line on where it stands."""
    if state.ready:
        return "running"
    return f"starting; waiting for {', '.join(state.waiting_for) or 'processes'}"


async def _show_live(console: Console, ensemble: Ensemble) -> None:
    begun_s = time.monotonic()
    async with open_clients(ensemble.plan) as clients:
        with Live(console=console, auto_refresh=False) as live:
            while True:
                up_s = time.monotonic() - begun_s
                live.update(await _render(ensemble, clients, up_s), refresh=True)
                await trio.sleep(VIEW_S)


async def _render(ensemble: Ensemble, clients: Clients, up_s: float) -> RenderableType:
    state = ensemble.state()
    overview = await survey_of(ensemble.plan, state, clients)
    title = Text.assemble(
        ("AIOS testnet", "bold"),
        f" in {ensemble.layout.root}, {up_s:.0f} s: ",
        (describe(state), "green" if state.ready else "yellow"),
        ("   Ctrl-C stops it", "dim"),
    )
    return Group(title, Text(), *overview_tables(overview))


async def _print_changes(console: Console, ensemble: Ensemble) -> None:
    """A line whenever a process begins or ends, and when all is ready."""
    told: dict[str, tuple[Phase, int]] = {}
    was = ""
    while True:
        state = ensemble.state()
        for service in state.services:
            now = (service.phase, service.restarts)
            if told.get(service.name) != now and service.phase is not Phase.STARTING:
                told[service.name] = now
                _line(console, f"{service.name}: {service.phase} (restarts: {service.restarts})")
        if (line := describe(state)) != was:
            _line(console, line)
            was = line
        await trio.sleep(POLL_S)


async def _print_json_once(ensemble: Ensemble) -> None:
    await ensemble.ready.wait()
    async with open_clients(ensemble.plan) as clients:
        overview = await survey_of(ensemble.plan, ensemble.state(), clients)
    emit_json(overview_json(overview))


def _line(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
