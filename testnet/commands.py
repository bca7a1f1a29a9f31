"""`aios testnet`: a whole network on this machine, for development and demonstration.

Heavy modules are imported where they are used: `aios --help` loads this file.
"""

import shlex
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from p2p_aios.cli.display import emit_json
from p2p_aios.cli.session import current
from p2p_aios.errors import Invalid
from p2p_aios.params import PRESETS
from testnet.layout import DEFAULT_ROOT, layout_at

if TYPE_CHECKING:
    from testnet.layout import Layout
    from testnet.state import EnsembleState

LOG_LINES: Final = 40
FAULT_SIGNALS: Final = {
    "KILL": signal.SIGKILL,
    "TERM": signal.SIGTERM,
    "STOP": signal.SIGSTOP,
    "CONT": signal.SIGCONT,
}
PIPE_COLUMNS: Final = 160
EXIT_SHORT: Final = 1
"""Exit status of a demo that did not reach what it shows."""
EXIT_DOWN: Final = 3
"""Exit status of `status` where nothing runs."""

testnet_app = typer.Typer(
    name="testnet",
    help="Run a whole AIOS network on this machine.",
    no_args_is_help=True,
    add_completion=False,
)
Folder = Annotated[Path, typer.Option("--dir", help="Folder of the testnet.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: JSON on stdout.")]


@testnet_app.command()
def up(
    nodes: Annotated[int | None, typer.Option(help="Validators; 4 by default.")] = None,
    workers: Annotated[int | None, typer.Option(help="Contributors; 3 by default.")] = None,
    preset: Annotated[
        str | None, typer.Option(help=f"Parameters: {', '.join(PRESETS)}; fast by default.")
    ] = None,
    root: Folder = DEFAULT_ROOT,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Run in the background.")] = False,
    no_ray: Annotated[bool, typer.Option("--no-ray", help="Nodes only.")] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the folder's old chain and keys first.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Start nodes, a Ray head and workers; restart what dies, until Ctrl-C.

    The folder is made at first and continued later: its chain goes on where it stopped.

    \b
    aios testnet up
    aios testnet up --nodes 7 --workers 2 --preset mainnet
    aios testnet up --detach && aios testnet status
    """
    import trio

    from testnet.control import take_down
    from testnet.creation import Asked, prepare, remove
    from testnet.state import is_supervised, running_refusal

    layout = layout_at(root)
    if is_supervised(layout):
        raise running_refusal(layout)
    if fresh and layout.plan_file.exists():
        trio.run(take_down, layout)
        remove(layout)
    prepare(layout, Asked(nodes, workers, preset, False if no_ray else None))
    is_json = as_json or current().is_json
    if detach:
        _up_detached(layout, is_json)
    else:
        _up_attached(layout, is_json)


@testnet_app.command()
def down(root: Folder = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """Stop everything, in order; what does not stop in time is killed.

    \b
    aios testnet down
    """
    import trio

    from testnet.control import take_down

    begun_s = time.monotonic()
    ended = trio.run(take_down, layout_at(root))
    took_s = round(time.monotonic() - begun_s, 1)
    if as_json or current().is_json:
        emit_json({"was_running": ended.was_running, "ended": ended.ended, "took_s": took_s})
    elif ended.ended:
        typer.echo(f"stopped after {took_s} s; nothing is left running")
    else:
        typer.echo("nothing was running")


@testnet_app.command()
def status(root: Folder = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """Show nodes, Ray head and workers; exit status 3 where nothing runs.

    \b
    aios testnet status
    aios testnet status --json
    """
    import trio
    from rich.console import Console

    from testnet.status import overview_json, overview_tables, survey

    layout = layout_at(root)
    overview = trio.run(survey, layout)
    if as_json or current().is_json:
        emit_json(overview_json(overview))
    elif overview.is_up:
        # Through a pipe nobody sees the edge: addresses must stay whole.
        console = Console(width=None if sys.stdout.isatty() else PIPE_COLUMNS)
        for table in overview_tables(overview):
            console.print(table)
    elif overview.orphans:
        typer.echo(
            f"the supervisor in {layout.root} is gone but {overview.orphans} of its processes run; "
            "`aios testnet down` ends them, `aios testnet up` starts anew"
        )
    else:
        typer.echo(f"the testnet in {layout.root} is down; `aios testnet up` starts it")
    if not overview.is_up:
        raise typer.Exit(EXIT_DOWN)


@testnet_app.command()
def env(root: Folder = DEFAULT_ROOT, as_json: AsJson = False) -> None:
    """Print shell lines that point the other commands at this testnet: node, wallet, Ray head.

    \b
    eval "$(aios testnet env)"
    aios node status
    """
    from testnet.layout import read_plan, variables

    found = variables(layout_at(root), read_plan(layout_at(root)))
    if as_json or current().is_json:
        emit_json(found)
        return
    for name, value in found.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@testnet_app.command()
def logs(
    name: Annotated[str, typer.Argument(help="node-0, ray-head, worker-0, supervisor, …")],
    root: Folder = DEFAULT_ROOT,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="How many.")] = LOG_LINES,
    is_followed: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the end of a process's log.

    \b
    aios testnet logs node-0 -f
    """
    from testnet.layout import read_plan
    from testnet.logs import size_of, tail

    layout = layout_at(root)
    known = (*read_plan(layout).service_names(), "supervisor")
    if name not in known:
        raise Invalid("unknown_process", f"{name!r} is none of {', '.join(known)}")
    end = size_of(layout.log(name))
    found = list(tail(layout.log(name), lines))
    if as_json or current().is_json:
        emit_json({"name": name, "file": str(layout.log(name)), "lines": found})
        return
    for line in found:
        typer.echo(line)
    if is_followed:
        _follow_log(layout.log(name), end)


@testnet_app.command()
def kill(
    name: Annotated[str, typer.Argument(help="node-0, gateway-0, ray-head, worker-0, …")],
    signal_name: Annotated[
        str, typer.Option("--signal", help="KILL, TERM, STOP or CONT.")
    ] = "KILL",
    root: Folder = DEFAULT_ROOT,
    as_json: AsJson = False,
) -> None:
    """Send a signal to one process and see the network bear it; what dies is started again.

    \b
    aios testnet kill node-2
    aios testnet kill worker-0 --signal STOP
    """
    from testnet import faults

    if signal_name not in FAULT_SIGNALS:
        raise Invalid("unknown_signal", f"{signal_name!r} is none of {', '.join(FAULT_SIGNALS)}")
    process = faults.send_signal(layout_at(root), name, FAULT_SIGNALS[signal_name])
    if as_json or current().is_json:
        emit_json({"name": name, "signal": signal_name, "pid": process.pid})
    else:
        typer.echo(f"{signal_name} sent to {name} (pid {process.pid})")


@testnet_app.command()
def demo(
    rounds: Annotated[int, typer.Option(min=1, help="Training rounds.")] = 20,
    nodes: Annotated[int, typer.Option(min=1, help="Validators.")] = 4,
    workers: Annotated[int, typer.Option(min=1, help="Contributors.")] = 3,
    preset: Annotated[str, typer.Option(help=f"Parameters: {', '.join(PRESETS)}.")] = "fast",
    root: Annotated[
        Path | None, typer.Option("--dir", help="Folder; by default a temporary one.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the network running.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train a neural network on a real network of real processes, then check every claim.

    With --json the progress goes to stderr, and the last line of stdout is one object.

    \b
    aios testnet demo
    aios testnet demo --rounds 30 --json
    aios testnet demo --keep && aios testnet status
    """
    import trio
    from rich.console import Console

    from testnet.demo.figures import figures_json
    from testnet.demo.story import Wish, run_demo

    wish = Wish(rounds, nodes, workers, preset, root, keep)
    is_json = as_json or current().is_json
    outcome = trio.run(run_demo, wish, Console(stderr=is_json))
    if is_json:
        emit_json(figures_json(outcome.figures))
    if outcome.problems:
        raise typer.Exit(EXIT_SHORT)


def _up_attached(layout: "Layout", is_json: bool) -> None:
    from functools import partial

    import trio
    from rich.console import Console

    from testnet.readiness import until_ready
    from testnet.roster import stages_of
    from testnet.screen import choose_watch
    from testnet.supervise import supervise

    console = Console(stderr=is_json, highlight=False)
    watch = choose_watch(console, is_json)
    trio.run(partial(supervise, layout, stages_of, until_ready, watch))
    console.print("stopped; nothing is left running")


def _up_detached(layout: "Layout", is_json: bool) -> None:
    import trio
    from rich.console import Console

    from testnet.control import start_supervisor, wait_ready
    from testnet.screen import describe

    supervisor = start_supervisor(layout)

    async def wait() -> None:
        with Console(stderr=True).status("starting") as shown:

            def tell(state: "EnsembleState") -> None:
                shown.update(describe(state))

            await wait_ready(layout, supervisor, tell)

    trio.run(wait)
    status(layout.root, is_json)


def _follow_log(log: Path, position: int) -> None:
    import trio

    from testnet.logs import follow

    async def show() -> None:
        async for text in follow(log, position):
            typer.echo(text, nl=False)

    try:
        trio.run(show)
    except KeyboardInterrupt:
        typer.echo()
