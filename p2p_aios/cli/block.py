"""`aios block`: finalized blocks."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from p2p_aios.cli.arguments import checked, parse_place
from p2p_aios.cli.display import emit, text_of
from p2p_aios.cli.session import ask, current
from p2p_aios.types.views import BlockSummary
from p2p_aios.units import Millis

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

app = typer.Typer(help="Finalized blocks.", no_args_is_help=True, add_completion=False)


@app.command()
def show(
    place: Annotated[
        str | None, typer.Argument(metavar="HEIGHT|HASH", help="Default: the last one.")
    ] = None,
    has_transactions: Annotated[
        bool, typer.Option("--transactions", "--tx", help="Decode the transactions.")
    ] = False,
    has_outcome: Annotated[bool, typer.Option("--events", help="Add receipts and events.")] = False,
) -> None:
    """Show a finalized block.

    \b
    aios block show
    aios block show 120 --tx --events
    """
    at: Any = None if place is None else checked(parse_place)(place)
    emit(
        ask(
            lambda client: client.block(
                at, has_transactions=has_transactions, has_outcome=has_outcome
            )
        )
    )


@app.command()
def follow(
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="Stop after so many blocks.")
    ] = None,
) -> None:
    """Print each block as it is finalized; Ctrl-C ends it.

    \b
    aios block follow
    aios block follow --count 10 --json
    """

    async def run(client: "Client") -> None:
        seen = 0
        async with client.subscribe_blocks() as blocks:
            async for block in blocks:
                _print(block)
                seen += 1
                if seen == count:
                    return

    ask(run)


def _print(block: BlockSummary) -> None:
    if current().is_json:
        emit(block)
        return
    header = block.header
    when = text_of(header.timestamp_ms, Millis)
    print(
        f"{header.height:>8}  {when}  view {header.view}  {block.transactions} tx"
        f"  {block.hash.hex()[:16]}",
        flush=True,
    )
