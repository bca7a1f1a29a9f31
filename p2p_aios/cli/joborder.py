"""`aios job submit KIND`: jobs with arguments that people can write; `jobinputs` names blobs."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2p_aios.cli.arguments import checked
from p2p_aios.cli.blobfile import NamedBlob
from p2p_aios.cli.jobinputs import Shape, find_subject
from p2p_aios.cli.jobresult import fetch_output, tell_result, wait_for_receipt
from p2p_aios.cli.modeloptions import parse_choice
from p2p_aios.cli.optiongroup import spread
from p2p_aios.cli.scales import PARAMETER_ONE, RATE_ONE, parse_scaled
from p2p_aios.cli.session import ask
from p2p_aios.cli.signing import Signing, deliver, submit
from p2p_aios.codec import schema
from p2p_aios.ledger.jobs import REASSIGNMENTS_MAX, WAIT_BLOCKS_MAX
from p2p_aios.types.compute import (
    AggregateArguments,
    EvaluateArguments,
    JobKind,
    SubmitJob,
    TrainArguments,
)
from p2p_aios.types.learning import Rule, TrainingPlan
from p2p_aios.types.views import JobView
from p2p_aios.units import parse_amount

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

app = typer.Typer(
    help="Submit a job; its id is that of the transaction.",
    no_args_is_help=True,
    add_completion=False,
)
PLAN: Final = TrainingPlan(epochs=1, batch=32, learning_rate=RATE_ONE // 10)
UPDATE_LIMIT: Final = 8 * PARAMETER_ONE

PaymentOption = Annotated[
    str, typer.Option("--payment", metavar="AMOUNT", help="AIOS, escrowed, paid on receipt.")
]
WindowOption = Annotated[
    int,
    typer.Option(
        "--window", metavar="BLOCKS", min=1, help="Blocks a worker has for it; three may try."
    ),
]
WaitOption = Annotated[
    bool, typer.Option("--wait", "-w", help="Wait for the receipt, and show the output.")
]


@dataclass(frozen=True, slots=True)
class Terms:
    """How a job is paid and waited for."""

    payment: PaymentOption = "1"
    window_blocks: WindowOption = 120
    is_waited: WaitOption = False


@app.command()
@spread
def evaluate(
    shape: Shape,
    terms: Terms,
    signing: Signing,
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Parameters: a file or a CID.")
    ] = None,
    shard: Annotated[
        str | None, typer.Argument(metavar="SHARD", help="Labelled rows: a file or a CID.")
    ] = None,
) -> None:
    """Score a model on a shard, exactly.

    \b
    aios job submit evaluate base.bin test.bin --layers 64,64,10 --wait
    aios job submit evaluate --task 3f9c... --wait
    """
    subject = find_subject(shape)
    inputs = [subject.model(model, "MODEL"), subject.shard(shard, "SHARD")]
    _order(JobKind.EVALUATE, inputs, EvaluateArguments(subject.spec), terms, signing)


@app.command()
@spread
def train(
    shape: Shape,
    terms: Terms,
    signing: Signing,
    base: Annotated[
        str | None, typer.Argument(metavar="BASE", help="Parameters: a file or a CID.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the worker's own rows; default: 1.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows a step; default: 32.")] = None,
    learning_rate: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Default: 0.1.")
    ] = None,
) -> None:
    """Train on the worker's own data; the output is an update: what to add to the base.

    \b
    aios job submit train base.bin --layers 64,64,10 --epochs 2 --wait
    """
    subject = find_subject(shape)
    plan = subject.specification.plan if subject.specification else PLAN
    rate = plan.learning_rate
    if learning_rate is not None:
        rate = checked(parse_scaled)(learning_rate, RATE_ONE, "--learning-rate")
    plan = TrainingPlan(epochs or plan.epochs, batch or plan.batch, rate)
    inputs = [subject.model(base, "BASE")]
    _order(JobKind.TRAIN, inputs, TrainArguments(subject.spec, plan), terms, signing)


@app.command()
@spread
def aggregate(
    updates: Annotated[list[str], typer.Argument(metavar="UPDATE", help="Updates: files or CIDs.")],
    shape: Shape,
    terms: Terms,
    signing: Signing,
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="Parameters: a file or a CID.")
    ] = None,
    rule: Annotated[str | None, typer.Option(metavar="NAME", help="Default: mean.")] = None,
    update_limit: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Largest change of a parameter; 8.")
    ] = None,
) -> None:
    """Add updates to a base model by a rule, eq. (7); the output is the new model.

    \b
    aios job submit aggregate a.bin b.bin --base base.bin --layers 64,64,10 --wait
    """
    subject = find_subject(shape)
    like = subject.specification
    chosen, limit = (like.rule, like.update_limit) if like else (Rule.MEAN, UPDATE_LIMIT)
    if rule is not None:
        chosen = checked(parse_choice)(Rule, rule)
    if update_limit is not None:
        limit = checked(parse_scaled)(update_limit, PARAMETER_ONE, "--update-limit")
    inputs = [subject.model(base, "--base")]
    inputs += [subject.parameters(update, "UPDATE") for update in updates]
    arguments = AggregateArguments(subject.spec, chosen, limit)
    _order(JobKind.AGGREGATE, inputs, arguments, terms, signing)


def _order(
    kind: JobKind, inputs: Sequence[NamedBlob], arguments: Any, terms: Terms, signing: Signing
) -> None:
    if terms.is_waited and signing.no_wait:
        raise typer.BadParameter("--wait and --no-wait contradict each other")
    cids = tuple(blob.cid for blob in inputs)
    payment = checked(parse_amount)(terms.payment)
    job = SubmitJob(kind, cids, schema.encode(arguments), payment, terms.window_blocks)
    # The schema knows every bound; asking it here spares a round trip.
    schema.decode(type(arguments), job.arguments)
    schema.decode(SubmitJob, schema.encode(job))
    uploads = [blob.data for blob in inputs if blob.data is not None]
    if terms.is_waited:
        _see_through(job, uploads, signing)
    else:
        submit(signing, job, uploads)


def _see_through(job: SubmitJob, uploads: Sequence[bytes], signing: Signing) -> None:
    """Submit a job, wait for its receipt, and show the output."""
    # Imported here: help and completion of this group need no client.
    from p2p_aios.sdk.client import require_success

    signer = signing.unlock()

    async def run(client: "Client") -> tuple[JobView, bytes]:
        id = await deliver(client, signer, job, signing.fee, uploads)
        # Apart from the result, and early: whoever interrupts the wait wants to ask again.
        print(f"job {id.hex()}", file=sys.stderr, flush=True)
        require_success(await client.wait(id, signing.timeout_s))
        settled = await wait_for_receipt(client, id, _longest_s(job.window_blocks))
        return settled, await fetch_output(client, settled)

    tell_result(*ask(run))


def _longest_s(window_blocks: int) -> float:
    """Time in which the chain settles or refunds a job, at twice the usual block interval."""
    return WAIT_BLOCKS_MAX + (REASSIGNMENTS_MAX + 1) * window_blocks
