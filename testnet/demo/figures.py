"""The demo's result: figures for programs, and the same told to people."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from p2p_aios.units import AIOS, Address
from testnet.demo.checks import Findings
from testnet.demo.progress import Progress
from testnet.quantiles import median, quantile


@dataclass(frozen=True, slots=True)
class Figures:
    """What `aios testnet demo --json` prints as its last line; the unit is the name's suffix."""

    blocks: int
    block_interval_p50_ms: float | None
    """By the timestamps of headers."""
    block_arrival_p50_ms: float | None
    """By the client's clock."""
    finality_p50_ms: float | None
    """From submitting a transfer to hearing that it is final."""
    finality_p99_ms: float | None
    transfers: int
    rounds: int
    """Settled."""
    rounds_voided: int
    round_p50_ms: float | None
    """From opening to settlement."""
    accuracy: float | None
    """0..1 on the test rows, after the last settled round."""
    central_accuracy: float
    verified: bool
    """Whether an independent recomputation of one round gave what the chain has."""
    supply_ok: bool
    chains_equal: bool
    """Whether all nodes have the same block at every height."""
    rewards_aios: dict[str, float]
    setup_s: float
    total_s: float


def figures_of(
    progress: Progress,
    findings: Findings,
    names: Mapping[Address, str],
    setup_s: float,
    total_s: float,
) -> Figures:
    return Figures(
        blocks=progress.blocks,
        block_interval_p50_ms=median(progress.intervals_ms),
        block_arrival_p50_ms=_tenths(median(progress.arrivals_ms)),
        finality_p50_ms=_tenths(median(progress.finality_ms)),
        finality_p99_ms=_tenths(quantile(progress.finality_ms, 0.99)),
        transfers=len(progress.finality_ms),
        rounds=len(progress.rounds),
        rounds_voided=progress.voided,
        round_p50_ms=median([settled.took_ms for settled in progress.rounds]),
        accuracy=progress.accuracy,
        central_accuracy=findings.central_accuracy,
        verified=findings.is_verified,
        supply_ok=not findings.supply,
        chains_equal=not findings.chains,
        rewards_aios={name: progress.reward_of(address) / AIOS for address, name in names.items()},
        setup_s=round(setup_s, 1),
        total_s=round(total_s, 1),
    )


def figures_json(figures: Figures) -> dict[str, Any]:
    return asdict(figures)


def shortfalls(figures: Figures, findings: Findings, rounds: int) -> tuple[str, ...]:
    """What keeps the demo from being a success, in sentences."""
    found = [f"round {findings.verified_round}: {each}" for each in findings.verification]
    found += [f"supply: {each}" for each in findings.supply]
    found += [f"chain: {each}" for each in findings.chains]
    if figures.rounds < rounds:
        found.append(f"{figures.rounds} of {rounds} rounds settled")
    if findings.verified_round is None:
        found.append("no round settled that could be verified")
    return tuple(found)


def tell(console: Console, figures: Figures, findings: Findings, problems: tuple[str, ...]) -> None:
    """The result as a panel, and what is wrong with it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column()
    accuracy = "–" if figures.accuracy is None else f"{figures.accuracy:.2%}"
    central = f"{figures.central_accuracy:.2%}"
    table.add_row("accuracy", f"{accuracy}, trained centrally {central}")
    table.add_row("rounds", f"{figures.rounds} settled, p50 {_ms(figures.round_p50_ms)}")
    table.add_row(
        "blocks", f"{figures.blocks}, one every {_ms(figures.block_interval_p50_ms)} (p50)"
    )
    table.add_row(
        "finality",
        f"p50 {_ms(figures.finality_p50_ms)}, p99 {_ms(figures.finality_p99_ms)} "
        f"over {figures.transfers} transfers",
    )
    rewards = ", ".join(f"{name} {paid:,.2f}" for name, paid in figures.rewards_aios.items())
    table.add_row("rewards", f"{rewards} AIOS")
    table.add_row("verified", _verdict(figures.verified, f"round {findings.verified_round}"))
    table.add_row("supply", _verdict(figures.supply_ok, "every unit accounted for"))
    table.add_row("chains", _verdict(figures.chains_equal, "the same on every node"))
    table.add_row("time", f"set-up {figures.setup_s:.1f} s, all {figures.total_s:.1f} s")
    console.print(Panel(table, title="result", border_style="red" if problems else "green"))
    for problem in problems:
        console.print(f"[red]✗[/] {problem}", highlight=False)


def _verdict(is_good: bool, what: str) -> str:
    return f"[green]✓[/] {what}" if is_good else f"[red]✗[/] {what}"


def _tenths(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f} ms"
