"""`aios events`: what finalized blocks did, as it happens."""

from typing import TYPE_CHECKING, Annotated

import typer

from p2p_aios.cli.display import emit, text_of
from p2p_aios.cli.session import ask, current
from p2p_aios.types.views import EventNotice
from p2p_aios.units import Millis

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

app = typer.Typer(
    help="What finalized blocks did, as it happens.", no_args_is_help=True, add_completion=False
)


@app.callback()
def events() -> None:
    """What finalized blocks did, as it happens."""


@app.command()
def follow(
    kinds: Annotated[
        str | None,
        typer.Option(
            metavar="NAME,...", help="Only these, as in JobSettled,RoundSettled; default: all."
        ),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS|ID", help="Only what names this address, job or task."),
    ] = None,
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="Stop after so many events.")
    ] = None,
) -> None:
    """Print each event as its block is finalized; Ctrl-C ends it.

    \b
    aios events follow
    aios events follow --subject aios1... --json
    """
    names = [name.strip() for name in (kinds or "").split(",") if name.strip()]

    async def run(client: "Client") -> None:
        seen = 0
        async with client.subscribe_events(names, subject) as notices:
            async for notice in notices:
                _print(notice)
                seen += 1
                if seen == count:
                    return

    ask(run)


def _print(notice: EventNotice) -> None:
    if current().is_json:
        emit(notice)
        return
    when = text_of(notice.timestamp_ms, Millis)
    origin = "the block" if notice.transaction is None else notice.transaction.hex()
    print(f"height {notice.height}  {when}  {type(notice.event).__name__}  by {origin}")
    emit(notice.event)
    print(flush=True)
