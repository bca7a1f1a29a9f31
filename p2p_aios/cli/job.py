"""`aios job`: single compute jobs."""

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
from p2p_aios.cli.session import ask
from p2p_aios.cli.tx import NoWaitOption, submit
from p2p_aios.codec import schema
from p2p_aios.codec.cid import parse_cid
from p2p_aios.errors import Invalid
from p2p_aios.types.compute import JobKind, SubmitJob
from p2p_aios.types.views import Jobs
from p2p_aios.units import Hash, parse_amount

app = typer.Typer(
    help="Compute jobs: paid for a signed receipt.", no_args_is_help=True, add_completion=False
)


@app.command("submit")
def submit_job(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="train, evaluate or aggregate.")],
    inputs: Annotated[
        list[str] | None, typer.Option("--input", "-i", help="CID of a blob the job reads; repeat.")
    ] = None,
    arguments: Annotated[str, typer.Option(help="Canonical CBOR in hex, as the kind asks.")] = "80",
    payment: Annotated[str, typer.Option(metavar="AMOUNT", help="AIOS, paid on receipt.")] = "1",
    window_blocks: Annotated[
        int, typer.Option("--window", min=1, help="Blocks the worker has for it.")
    ] = 120,
    key: KeyOption = "default",
    fee: FeeOption = None,
    no_wait: NoWaitOption = False,
    timeout_s: TimeoutOption = 30,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Submit a job; its id is that of the transaction.

    \b
    aios job submit evaluate -i bafk... -i bafk... --payment 2.5
    """
    job = SubmitJob(
        checked(_parse_kind)(kind),
        tuple(checked(parse_cid)(text) for text in inputs or ()),
        checked(_parse_arguments)(arguments),
        checked(parse_amount)(payment),
        window_blocks,
    )
    # The schema knows every bound; asking it here spares a round trip.
    schema.decode(SubmitJob, schema.encode(job))
    submit(unlock(key, passphrase_file), job, fee, no_wait, timeout_s)


@app.command()
def show(id: IdArgument) -> None:
    """Show a job, who holds it and what came of it.

    \b
    aios job show 3f9c...
    """
    emit(ask(lambda client: client.job(Hash(id))))


@app.command("list")
def list_all(
    after: Annotated[str | None, typer.Option(help="Last id of the page before.")] = None,
) -> None:
    """List jobs, at most 100 at a time.

    \b
    aios job list --json
    """
    last = None if after is None else checked(parse_id)(after)
    jobs = ask(lambda client: client.jobs(last))
    emit_table(jobs, Jobs, ("id", "specification.kind", "state", "worker", "specification.payment"))


def _parse_kind(text: str) -> JobKind:
    try:
        return JobKind[text.upper()]
    except KeyError:
        known = ", ".join(kind.name.lower() for kind in JobKind)
        raise Invalid("job_kind_unknown", f"{text!r} is no kind; there are {known}") from None


def _parse_arguments(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Invalid("hex_malformed", "arguments are hex, e.g. 80 for none") from None
