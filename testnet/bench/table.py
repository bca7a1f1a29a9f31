"""Figures as people read them: beside a peer's, or from the smallest size to the largest."""

from collections.abc import Mapping

from rich.table import Table

from testnet.bench.growth import EXPONENT, by_size


def figures_table(figures: Mapping[str, float], peers: Mapping[str, float]) -> Table:
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


def growth_table(figures: Mapping[str, float]) -> Table:
    """Figures of `growth.growth_figures`: a row for each, a column for each size, the exponent."""
    rows, sizes = by_size(figures)
    table = Table()
    table.add_column("figure")
    for size in sizes:
        table.add_column(f"{size:,}", justify="right")
    table.add_column("exponent", justify="right")
    for name, values in rows.items():
        cells = [_number(values.get(size)) for size in sizes]
        table.add_row(name, *cells, _number(figures.get(f"{name}{EXPONENT}")))
    return table


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 or value == int(value) else f"{value:,.2f}"
