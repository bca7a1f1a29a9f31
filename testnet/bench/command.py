"""`aios bench NAME`: one benchmark, as a table for people or one line of JSON for programs."""

import inspect
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from p2p_aios.cli.display import emit_json
from p2p_aios.cli.session import current
from p2p_aios.errors import Invalid
from testnet.bench.machine import describe_machine

BENCHES: Final = {
    "finality": "four validators, 20 transfers/s: block interval, submit to finalized",
    "tx": "four validators, RPC batches of 100: transfers finalized per second",
    "execute": "signatures, execution, trie, fsync of whole blocks in one process",
    "node": "four idle validators: memory of a node, processor of all",
    "rpc": "one validator: requests per second, and what 200 subscribers cost",
    "trie": "state trie and LMDB: updates, proofs, reads, one fsynced commit per batch",
}
"""What each module of this package measures, said here so that help need not import them."""

bench_app = typer.Typer(
    name="bench",
    help="Measure AIOS on this machine, beside a peer where one exists.",
    invoke_without_command=True,
    add_completion=False,
)


@bench_app.callback()
def list_benches(context: typer.Context) -> None:
    """Measure AIOS on this machine, beside a peer where one exists."""
    if context.invoked_subcommand is not None:
        return
    typer.echo(context.get_help())


def load_bench(name: str) -> ModuleType:
    """Imported only when asked for: benchmarks pull in heavy libraries."""
    return import_module(f"testnet.bench.{name}")


def run_bench(name: str, seconds: float | None, is_json: bool) -> None:
    """Measure and print; raises Invalid(`bench_without_seconds`)."""
    bench = load_bench(name)
    options: dict[str, Any] = {}
    if seconds is not None:
        if "seconds" not in inspect.signature(bench.measure).parameters:
            raise Invalid(
                "bench_without_seconds", f"{name} takes as long as it takes: no --seconds"
            )
        options["seconds"] = seconds
    progress = Console(stderr=True)
    with progress.status(f"{name}: {BENCHES[name]}"):
        figures, peers = bench.measure(**options)
    machine = describe_machine()
    console = Console(stderr=is_json, highlight=False)
    console.print(f"{name} on {machine['cpu']}, {machine['cores']} cores")
    console.print(figures_table(figures, peers))
    if is_json:
        emit_json({"bench": name, "figures": figures, "peers": peers, "machine": machine})


def _command_of(name: str) -> Callable[[float | None, bool], None]:
    def run(
        seconds: Annotated[
            float | None, typer.Option(help="How long to measure, where that can be chosen.", min=1)
        ] = None,
        as_json: Annotated[
            bool, typer.Option("--json", help="Last line of stdout: one JSON object.")
        ] = False,
    ) -> None:
        run_bench(name, seconds, as_json or current().is_json)

    return run


def figures_table(figures: dict[str, float], peers: dict[str, float]) -> Table:
    """Each figure, and beside it every peer's that measures the same thing.

    A peer's key is its name, an underscore, and the figure's key.
    """
    suffixes = [f"_{figure}" for figure in figures]
    names = sorted({key.removesuffix(s) for key in peers for s in suffixes if key.endswith(s)})
    table = Table()
    table.add_column("figure")
    table.add_column("AIOS", justify="right")
    for peer in names:
        table.add_column(peer, justify="right")
    for key, value in figures.items():
        beside = [_number(peers.get(f"{peer}_{key}")) for peer in names]
        table.add_row(key, _number(value), *beside)
    return table


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.2f}"


for _name, _measures in BENCHES.items():
    bench_app.command(_name, help=_measures[0].upper() + _measures[1:] + ".")(_command_of(_name))
