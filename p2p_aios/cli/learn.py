"""`aios learn`: learning tasks and their rounds."""

from pathlib import Path
from typing import Annotated

import typer

from p2p_aios.cli.arguments import (
    FeeOption,
    IdArgument,
    KeyOption,
    PassphraseOption,
    TimeoutOption,
    checked,
    parse_id,
    unlock,
)
from p2p_aios.cli.display import emit, emit_table
from p2p_aios.cli.session import ask, current
from p2p_aios.cli.taskfile import read_task
from p2p_aios.cli.tx import NoWaitOption, submit
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.sdk.client import Client
from p2p_aios.types.event import RoundSettled, RoundVoided, TaskFinished
from p2p_aios.types.learning import Score
from p2p_aios.types.views import EventNotice, Rounds, Tasks
from p2p_aios.units import Hash

app = typer.Typer(
    help="Learning tasks: many train one model.", no_args_is_help=True, add_completion=False
)


@app.command("submit")
def submit_task(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The task, in TOML or JSON.")],
    key: KeyOption = "default",
    fee: FeeOption = None,
    no_wait: NoWaitOption = False,
    timeout_s: TimeoutOption = 30,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Submit a learning task from a file; its id is that of the transaction.

    Blobs it names as files are uploaded first. A task in TOML:

    \b
    base_file = "base.bin"          # or: base = "bafk..."
    test_shard_file = "test.bin"    # or: test_shard = "bafk..."
    rule = "mean"
    rounds = 20
    seats = 8
    updates_min = 2
    budget = "1000"                 # AIOS
    bond = "1"
    model = { kind = "mlp", layers = [64, 64, 10], activation = "relu" }
    plan = { epochs = 1, batch = 32, learning_rate = 0.1 }

    \b
    aios learn submit digits.toml --key alice
    """
    signer: KeyPair = unlock(key, passphrase_file)
    draft = read_task(file)
    for blob in draft.uploads:
        ask(lambda client, blob=blob: client.put_blob(blob))  # type: ignore[misc]
    submit(signer, draft.task, fee, no_wait, timeout_s)


@app.command()
def show(id: IdArgument) -> None:
    """Show a task: its round, phase, model and score.

    \b
    aios learn show 3f9c...
    """
    emit(ask(lambda client: client.task(Hash(id))))


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
    """List a task's rounds: phase, seats, score, aggregate.

    \b
    aios learn rounds 3f9c... --json
    """
    found = ask(lambda client: client.rounds(Hash(id), first))
    columns = ("round", "phase", "score.correct", "score.rows", "score.loss", "paid", "aggregate")
    emit_table(found, Rounds, columns)


@app.command()
def follow(id: IdArgument) -> None:
    """Print each round of a task as it settles, until the task is finished.

    \b
    aios learn follow 3f9c...
    """

    async def run(client: Client) -> None:
        kinds = [kind.__name__ for kind in (RoundSettled, RoundVoided, TaskFinished)]
        async with client.subscribe_events(kinds, id.hex()) as events:
            # Asked for after subscribing, so that no end goes unnoticed.
            if (await client.task(Hash(id))).is_finished:
                return
            async for notice in events:
                _print(notice)
                if isinstance(notice.event, TaskFinished):
                    return

    ask(run)


def _print(notice: EventNotice) -> None:
    if current().is_json:
        emit(notice)
        return
    match notice.event:
        case RoundSettled(round=round, score=score, contributors=contributors):
            told = f"round {round} settled: {_accuracy(score)}, {len(contributors)} contributors"
        case RoundVoided(round=round, code=code):
            told = f"round {round} voided: {code}"
        case _:
            told = "task finished"
    print(f"{notice.height:>8}  {told}", flush=True)


def _accuracy(score: Score) -> str:
    return f"{score.correct} of {score.rows} correct"
