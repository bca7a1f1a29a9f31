"""What the demo shows while it runs: a live screen on a terminal, plain lines elsewhere."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from p2p_aios.units import AIOS, Address
from testnet.demo.progress import Progress, SettledRound
from testnet.quantiles import median, quantile

REFRESH_PER_S: Final = 4
ROUNDS_SHOWN: Final = 8
BARS: Final = "▁▂▃▄▅▆▇█"
NOTES_SHOWN: Final = 4


class View(Protocol):
    """Where the story tells what happens."""

    def note(self, text: str) -> None:
        """One step of the story; the same one again is not told twice."""
        ...

    def refresh(self) -> None:
        """The progress may have changed."""
        ...


class Screen:
    """The live view."""

    def __init__(self, progress: Progress, names: Mapping[Address, str], rounds: int) -> None:
        self._progress = progress
        self._names = names
        self._rounds = rounds
        self._notes: list[str] = []
        self.live: Live | None = None

    def note(self, text: str) -> None:
        if self._notes[-1:] != [text]:
            self._notes = [*self._notes[1 - NOTES_SHOWN :], text]
            self.refresh()

    def refresh(self) -> None:
        if self.live is not None:
            self.live.update(self.render())

    def render(self) -> RenderableType:
        parts: list[RenderableType] = [
            Text("\n".join(self._notes[:-1]), style="dim"),
            Text(self._notes[-1] if self._notes else "", style="bold"),
        ]
        if self._progress.height:
            chain = Panel(chain_table(self._progress), title="chain", border_style="cyan")
            learning = Panel(self._learning(), title="learning", border_style="green")
            rewards = Panel(
                rewards_table(self._progress, self._names), title="rewards", border_style="yellow"
            )
            parts.append(Columns([chain, learning, rewards]))
        return Group(*parts)

    def _learning(self) -> RenderableType:
        rounds = self._progress.rounds
        line = Text(f"round {len(rounds)}/{self._rounds}   ")
        line.append(sparkline([settled.accuracy for settled in rounds]), style="green")
        return Group(line, rounds_table(rounds[-ROUNDS_SHOWN:]))


class Lines:
    """One line per thing that happens: for logs and pipes."""

    def __init__(self, console: Console, progress: Progress, rounds: int) -> None:
        self._console = console
        self._progress = progress
        self._rounds = rounds
        self._last = ""
        self._told = 0
        """Rounds that have their line."""

    def note(self, text: str) -> None:
        if text != self._last:
            self._console.print(text, highlight=False, markup=False, soft_wrap=True)
            self._last = text

    def refresh(self) -> None:
        for settled in self._progress.rounds[self._told :]:
            self._tell(settled)
        self._told = len(self._progress.rounds)

    def _tell(self, settled: SettledRound) -> None:
        progress = self._progress
        self.note(
            f"round {settled.number + 1}/{self._rounds}: accuracy {settled.accuracy:.2%}, "
            f"{settled.contributors} updates, {settled.took_ms / 1000:.1f} s; "
            f"height {progress.height}, interval {_ms(median(progress.intervals_ms))}, "
            f"finality {_ms(median(progress.finality_ms))}"
        )


@contextmanager
def open_view(
    console: Console, progress: Progress, names: Mapping[Address, str], rounds: int
) -> Iterator[View]:
    """A live screen where `console` is a terminal, lines where it is not."""
    if not console.is_terminal:
        yield Lines(console, progress, rounds)
        return
    screen = Screen(progress, names, rounds)
    with Live(
        screen.render(), console=console, refresh_per_second=REFRESH_PER_S, transient=False
    ) as live:
        screen.live = live
        yield screen


def chain_table(progress: Progress) -> Table:
    table = _pairs()
    table.add_row("height", f"{progress.height:,}")
    table.add_row("epoch", f"{progress.epoch}")
    table.add_row("interval p50", _ms(median(progress.intervals_ms)))
    table.add_row("finality p50", _ms(median(progress.finality_ms)))
    table.add_row("finality p99", _ms(quantile(progress.finality_ms, 0.99)))
    table.add_row("transfers", f"{len(progress.finality_ms):,}")
    return table


def rounds_table(rounds: Sequence[SettledRound]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("round", "accuracy", "loss", "updates", "took"):
        table.add_column(heading, justify="right", header_style="dim")
    for settled in rounds:
        table.add_row(
            f"{settled.number + 1}",
            f"{settled.accuracy:.2%}",
            f"{mean_loss(settled):.3f}",
            f"{settled.contributors}",
            f"{settled.took_ms / 1000:.1f} s",
        )
    return table


def rewards_table(progress: Progress, names: Mapping[Address, str]) -> Table:
    """In whole AIOS, whoever the names name."""
    table = _pairs()
    for address, name in names.items():
        table.add_row(name, f"{progress.reward_of(address) / AIOS:,.2f}")
    table.add_row("epochs settled", f"{progress.epochs_settled}", style="dim")
    return table


def mean_loss(settled: SettledRound) -> float:
    """Cross-entropy per row, from the score's fixed point (24 fractional bits)."""
    return settled.score.loss / (1 << 24) / max(1, settled.score.rows)


def sparkline(values: Sequence[float]) -> str:
    """Accuracies, 0..1, as bars from their least to 1."""
    if not values:
        return ""
    least = min(values)
    span = max(1.0 - least, 1e-9)
    return "".join(BARS[int((value - least) / span * (len(BARS) - 1))] for value in values)


def _pairs() -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(justify="right")
    return table


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} ms"
