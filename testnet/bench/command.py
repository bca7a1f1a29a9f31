"""`aios bench NAME`: one benchmark, as a table for people or one line of JSON for programs."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Annotated, Final

import typer

from p2p_aios.cli.display import emit_json
from p2p_aios.cli.session import current


@dataclass(frozen=True, slots=True)
class Bench:
    """What a module of this package does, said here so that help need not import it."""

    measures: str
    takes: str | None = None
    """The option it has, which is an argument of its `measure`: `seconds` or `largest`."""


BENCHES: Final = {
    "finality": Bench("four validators, 20 transfers/s: interval, submit to finalized", "seconds"),
    "tx": Bench("four validators, RPC batches of 100: transfers finalized per second", "seconds"),
    "execute": Bench("signatures, execution, trie, fsync of whole blocks in one process"),
    "node": Bench("four idle validators: memory of a node, processor of all", "seconds"),
    "rpc": Bench("one validator: requests per second, and what 200 subscribers cost", "seconds"),
    "trie": Bench("state trie and LMDB: updates, proofs, reads, one fsynced commit per batch"),
    "state": Bench("growth with accounts: cost of a block of 5,000 updates", "largest"),
    "chain": Bench("growth with the chain: cost of a block of 20 transfers", "largest"),
    "committee": Bench("growth with the committee: cost of a block to each seat", "largest"),
}

bench_app = typer.Typer(
    name="bench",
    help="Measure AIOS on this machine, beside a peer where one exists.",
    no_args_is_help=True,
    add_completion=False,
)


def load_bench(name: str) -> ModuleType:
    """Imported only when asked for: benchmarks pull in heavy libraries."""
    return import_module(f"testnet.bench.{name}")


def run_bench(name: str, is_json: bool, **options: float | None) -> None:
    """Measure and print; options that are None are left to the bench."""
    # Imported here: `aios --help` loads this file.
    from rich.console import Console

    from testnet.bench.machine import describe_machine
    from testnet.bench.table import figures_table, growth_table

    bench = load_bench(name)
    chosen = {option: value for option, value in options.items() if value is not None}
    progress = Console(stderr=True)
    with progress.status(f"{name}: {BENCHES[name].measures}"):
        figures, peers = bench.measure(**chosen)
    machine = describe_machine()
    console = Console(stderr=is_json, highlight=False)
    console.print(f"{name} on {machine['cpu']}, {machine['cores']} cores")
    grows = BENCHES[name].takes == "largest"
    console.print(growth_table(figures) if grows else figures_table(figures, peers))
    if is_json:
        emit_json({"bench": name, "figures": figures, "peers": peers, "machine": machine})


Json = Annotated[bool, typer.Option("--json", help="Last line of stdout: one JSON object.")]


def _command_of(name: str) -> Callable[..., None]:
    """A command with the one option that the bench takes, if any."""

    def plain(as_json: Json = False) -> None:
        run_bench(name, as_json or current().is_json)

    def timed(
        seconds: Annotated[float | None, typer.Option(help="How long to measure.", min=1)] = None,
        as_json: Json = False,
    ) -> None:
        run_bench(name, as_json or current().is_json, seconds=seconds)

    def sized(
        largest: Annotated[int | None, typer.Option(help="Up to this size.", min=1)] = None,
        as_json: Json = False,
    ) -> None:
        run_bench(name, as_json or current().is_json, largest=largest)

    commands: dict[str | None, Callable[..., None]]
    commands = {None: plain, "seconds": timed, "largest": sized}
    return commands[BENCHES[name].takes]


for _name, _bench in BENCHES.items():
    _help = f"{_bench.measures[0].upper()}{_bench.measures[1:]}."
    bench_app.command(_name, help=_help)(_command_of(_name))
