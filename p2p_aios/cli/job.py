"""`aios job`: single compute jobs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_aios.cli import joborder
from p2p_aios.cli.arguments import IdArgument, checked, parse_id
from p2p_aios.cli.blobfile import write_file
from p2p_aios.cli.display import emit, emit_table
from p2p_aios.cli.jobresult import fetch_output, tell_arguments, tell_result, wait_for_receipt
from p2p_aios.cli.session import ask, current
from p2p_aios.types.views import Jobs, JobView
from p2p_aios.units import Hash

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

app = typer.Typer(
    help="Compute jobs: paid for a signed receipt.", no_args_is_help=True, add_completion=False
)
app.add_typer(joborder.app, name="submit")


@app.command()
def show(id: IdArgument) -> None:
    """Show a job, who holds it and what came of it.

    \b
    aios job show 3f9c...
    """
    job = ask(lambda client: client.job(Hash(id)))
    emit(job)
    if not current().is_json:
        tell_arguments(job)


@app.command()
def wait(
    id: IdArgument,
    timeout_s: Annotated[float, typer.Option("--timeout", help="Seconds to wait.")] = 600,
) -> None:
    """Wait for a job's receipt, then show its output as `aios job output` does.

    \b
    aios job wait 3f9c...
    """

    async def run(client: "Client") -> tuple[JobView, bytes]:
        job = await wait_for_receipt(client, Hash(id), timeout_s)
        return job, await fetch_output(client, job)

    tell_result(*ask(run))


@app.command()
def output(
    id: IdArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write the output to.")
    ] = None,
) -> None:
    """Fetch a settled job's output: a score, a model or an update.

    \b
    aios job output 3f9c...
    aios job output 3f9c... --out model.bin
    """

    async def run(client: "Client") -> tuple[JobView, bytes]:
        job = await client.job(Hash(id))
        return job, await fetch_output(client, job)

    job, data = ask(run)
    if out is not None:
        write_file(out, data)
    tell_result(job, data, None if out is None else str(out))


@app.command("list")
def list_all(
    after: Annotated[str | None, typer.Option(help="Last id of the page before.")] = None,
    is_closed: Annotated[
        bool, typer.Option("--closed", help="Those that are settled or refunded instead.")
    ] = False,
) -> None:
    """List jobs that wait or run, at most 100 at a time.

    \b
    aios job list
    aios job list --closed --json
    """
    last = None if after is None else checked(parse_id)(after)
    jobs = ask(lambda client: client.jobs(last, is_closed=is_closed))
    columns = ("id", "specification.kind", "state", "code", "specification.payment", "worker")
    emit_table(jobs, Jobs, columns)
