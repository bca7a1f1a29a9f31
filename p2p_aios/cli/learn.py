"""`aios learn`: learning tasks and their rounds; `base` and `shard` come with `compute`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from p2p_aios.cli.arguments import IdArgument, checked, parse_id
from p2p_aios.cli.blobfile import write_file
from p2p_aios.cli.display import emit, emit_fields, emit_table, score_text
from p2p_aios.cli.optiongroup import spread
from p2p_aios.cli.plugins import PluginGroup
from p2p_aios.cli.session import ask, current
from p2p_aios.cli.signing import Signing, submit
from p2p_aios.cli.taskfile import example_task, read_task
from p2p_aios.codec.cid import format_cid
from p2p_aios.types.event import RoundSettled, RoundVoided, TaskFinished
from p2p_aios.types.learning import Verdict
from p2p_aios.types.views import PAGE_MAX, Phase, Rounds, RoundView, Tasks, TaskView
from p2p_aios.units import Hash, format_amount

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

app = typer.Typer(
    cls=PluginGroup,
    help="Learning tasks: many train one model.",
    no_args_is_help=True,
    add_completion=False,
)
LOOK_S: Final = 5.0
"""Longest wait for an event before the task is looked at again."""
CLOSED: Final = (Phase.SETTLED, Phase.VOIDED)


@app.callback()
def group() -> None:
    """Learning tasks: many train one model."""


@app.command()
def example(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: stdout.")
    ] = None,
) -> None:
    """Print a task file to start from: every field, explained, with its default.

    \b
    aios learn example > task.toml
    """
    text = example_task()
    if out is not None:
        write_file(out, text.encode())
        emit_fields({"file": str(out)})
    elif current().is_json:
        emit_fields({"toml": text})
    else:
        print(text, end="")


@app.command("submit")
@spread
def submit_task(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The task, in TOML or JSON.")],
    signing: Signing,
    is_followed: Annotated[
        bool, typer.Option("--follow", "-f", help="Then print each round as it settles.")
    ] = False,
) -> None:
    """Submit a learning task from a file; its id is that of the transaction.

    Blobs that the file names by path are uploaded first. The budget is escrowed at once; what
    voided rounds leave of it comes back at the end. `aios learn example` prints a file with every
    field, its meaning and its default: 16 seats, at least 1 update, windows of 60 blocks to commit,
    20 to reveal and 40 to attest (30, 10 and 20 seconds; each ends early once all have acted).

    \b
    aios learn example > digits.toml
    aios learn submit digits.toml --key alice --follow
    """
    draft = read_task(file)
    id = submit(signing, draft.task, draft.uploads)
    if is_followed:
        ask(lambda client: _follow(client, id))


@app.command()
def show(id: IdArgument) -> None:
    """Show a task: its round, phase, model and score.

    \b
    aios learn show 3f9c...
    """
    task = ask(lambda client: client.task(Hash(id)))
    emit(task)


@app.command("list")
def list_all(
    after: Annotated[str | None, typer.Option(help="Last id of the page before.")] = None,
) -> None:
    """List tasks, at most 100 at a time.

    \b
    aios learn list
    """
    last = None if after is None else checked(parse_id)(after)
    tasks = ask(lambda client: client.tasks(last))
    columns = ("id", "round", "specification.rounds", "phase", "is_finished", "remaining")
    emit_table(tasks, Tasks, columns)


@app.command()
def rounds(
    id: IdArgument,
    first: Annotated[int, typer.Option(min=0, help="First round to show.")] = 0,
) -> None:
    """List a task's rounds, at most 100 at a time: phase, score, pay, model.

    \b
    aios learn rounds 3f9c... --json
    """
    found = ask(lambda client: client.rounds(Hash(id), first))
    columns = ("round", "phase", "score", "score.loss", "paid", "aggregate")
    emit_table(found, Rounds, columns)


@app.command()
def follow(id: IdArgument) -> None:
    """Print each round of a task, those that are over and those to come, until it is finished.

    With --json each line is a round, as `aios learn rounds` shows it.

    \b
    aios learn follow 3f9c...
    """
    ask(lambda client: _follow(client, Hash(id)))


async def _follow(client: "Client", id: Hash) -> None:
    # Imported here: help and completion of this group need no trio.
    import trio

    kinds = [kind.__name__ for kind in (RoundSettled, RoundVoided, TaskFinished)]
    # Subscribed before the first look, so that no end goes unnoticed.
    async with client.subscribe_events(kinds, id.hex()) as events:
        told = 0
        while True:
            task = await client.task(id)
            told = await _tell_closed(client, id, told)
            if task.is_finished:
                _tell_end(task, told)
                return
            with trio.move_on_after(LOOK_S):
                await anext(events)


async def _tell_closed(client: "Client", id: Hash, told: int) -> int:
    """Tell the rounds from `told` on that are over; the number of the first that is not."""
    while True:
        page = await client.rounds(id, told)
        for each in page:
            if each.phase not in CLOSED:
                return told
            _tell_round(each)
            told = each.round + 1
        if len(page) < PAGE_MAX:
            return told


def _tell_round(round: RoundView) -> None:
    if current().is_json:
        emit(round)
        return
    if round.score is None or round.phase is Phase.VOIDED:
        result = f"voided: {round.code}"
    else:
        paid = sum(seat.verdict is Verdict.ACCEPTED for seat in round.seats)
        result = f"{score_text(round.score)}, {format_amount(round.paid)} AIOS to each of {paid}"
    print(f"{round.closed:>8}  round {round.round}: {result}", flush=True)


def _tell_end(task: TaskView, told: int) -> None:
    if current().is_json:
        return
    asked = task.specification.rounds
    early = "" if told == asked else f" after {told} of {asked} rounds: too few workers"
    print(f"finished{early}; `aios blob get {format_cid(task.model)} -o FILE` fetches the model")
