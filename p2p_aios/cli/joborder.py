"""`aios job submit KIND`: jobs with arguments that people can write.

A model or shard is named by a file, which is uploaded, or by CID. `--task` takes whatever is left
out from a learning task: the model's shape, its latest parameters, the test shard, plan and rule.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from p2p_aios.cli.arguments import (
    FeeOption,
    KeyOption,
    PassphraseOption,
    TimeoutOption,
    checked,
    parse_id,
    unlock,
)
from p2p_aios.cli.blobfile import NamedBlob, name_blob
from p2p_aios.cli.jobresult import fetch_output, tell_result, wait_for_receipt
from p2p_aios.cli.modeloptions import (
    ActivationOption,
    KindOption,
    LayersOption,
    check_fits,
    parse_choice,
    parse_model,
)
from p2p_aios.cli.scales import PARAMETER_ONE, RATE_ONE, parse_scaled
from p2p_aios.cli.session import ask
from p2p_aios.cli.tx import NoWaitOption, deliver, submit
from p2p_aios.codec import schema
from p2p_aios.ledger.jobs import REASSIGNMENTS_MAX, WAIT_BLOCKS_MAX
from p2p_aios.sdk.client import Client, require_success
from p2p_aios.types.compute import (
    AggregateArguments,
    EvaluateArguments,
    JobKind,
    SubmitJob,
    TrainArguments,
)
from p2p_aios.types.learning import ModelSpec, Rule, TrainingPlan
from p2p_aios.types.views import JobView, TaskView
from p2p_aios.units import Cid, parse_amount

app = typer.Typer(
    help="Submit a job; its id is that of the transaction.",
    no_args_is_help=True,
    add_completion=False,
)
PLAN: Final = TrainingPlan(epochs=1, batch=32, learning_rate=RATE_ONE // 10)
UPDATE_LIMIT: Final = 8 * PARAMETER_ONE

TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="ID", help="Learning task that tells whatever is left out."),
]
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
    """How a job is paid, signed and waited for."""

    payment: str
    window_blocks: int
    key: str
    fee: int | None
    is_waited: bool
    no_wait: bool
    timeout_s: float
    passphrase_file: Path | None


@app.command()
def evaluate(
    model: Annotated[
        str | None, typer.Argument(metavar="MODEL", help="Parameters: a file or a CID.")
    ] = None,
    shard: Annotated[
        str | None, typer.Argument(metavar="SHARD", help="Labelled rows: a file or a CID.")
    ] = None,
    kind: KindOption = "mlp",
    layers: LayersOption = None,
    activation: ActivationOption = "relu",
    task: TaskOption = None,
    payment: PaymentOption = "1",
    window_blocks: WindowOption = 120,
    key: KeyOption = "default",
    fee: FeeOption = None,
    is_waited: WaitOption = False,
    no_wait: NoWaitOption = False,
    timeout_s: TimeoutOption = 30,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Score a model on a shard, exactly.

    \b
    aios job submit evaluate base.bin test.bin --layers 64,64,10 --wait
    aios job submit evaluate --task 3f9c... --wait
    """
    like = _find_task(task)
    spec = _shape(kind, layers, activation, like)
    inputs = [
        _parameters(model, "MODEL", spec, like),
        _blob(shard, "SHARD", like.specification.test_shard if like else None),
    ]
    terms = Terms(payment, window_blocks, key, fee, is_waited, no_wait, timeout_s, passphrase_file)
    _order(JobKind.EVALUATE, inputs, EvaluateArguments(spec), terms)


@app.command()
def train(
    base: Annotated[
        str | None, typer.Argument(metavar="BASE", help="Parameters: a file or a CID.")
    ] = None,
    kind: KindOption = "mlp",
    layers: LayersOption = None,
    activation: ActivationOption = "relu",
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the worker's own rows; default: 1.")
    ] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Rows a step; default: 32.")] = None,
    learning_rate: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Default: 0.1.")
    ] = None,
    task: TaskOption = None,
    payment: PaymentOption = "1",
    window_blocks: WindowOption = 120,
    key: KeyOption = "default",
    fee: FeeOption = None,
    is_waited: WaitOption = False,
    no_wait: NoWaitOption = False,
    timeout_s: TimeoutOption = 30,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Train on the worker's own data; the output is an update: what to add to the base.

    \b
    aios job submit train base.bin --layers 64,64,10 --epochs 2 --wait
    """
    like = _find_task(task)
    spec = _shape(kind, layers, activation, like)
    plan = like.specification.plan if like else PLAN
    rate = plan.learning_rate
    if learning_rate is not None:
        rate = checked(parse_scaled)(learning_rate, RATE_ONE, "--learning-rate")
    plan = TrainingPlan(epochs or plan.epochs, batch or plan.batch, rate)
    inputs = [_parameters(base, "BASE", spec, like)]
    terms = Terms(payment, window_blocks, key, fee, is_waited, no_wait, timeout_s, passphrase_file)
    _order(JobKind.TRAIN, inputs, TrainArguments(spec, plan), terms)


@app.command()
def aggregate(
    updates: Annotated[
        list[str], typer.Argument(metavar="UPDATE...", help="Updates: files or CIDs.")
    ],
    base: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help="Parameters: a file or a CID.")
    ] = None,
    kind: KindOption = "mlp",
    layers: LayersOption = None,
    activation: ActivationOption = "relu",
    rule: Annotated[str | None, typer.Option(metavar="NAME", help="Default: mean.")] = None,
    update_limit: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Largest change of a parameter; 8.")
    ] = None,
    task: TaskOption = None,
    payment: PaymentOption = "1",
    window_blocks: WindowOption = 120,
    key: KeyOption = "default",
    fee: FeeOption = None,
    is_waited: WaitOption = False,
    no_wait: NoWaitOption = False,
    timeout_s: TimeoutOption = 30,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Add updates to a base model by a rule, eq. (7); the output is the new model.

    \b
    aios job submit aggregate a.bin b.bin --base base.bin --layers 64,64,10 --wait
    """
    like = _find_task(task)
    spec = _shape(kind, layers, activation, like)
    chosen = like.specification.rule if like else Rule.MEAN
    limit = like.specification.update_limit if like else UPDATE_LIMIT
    if rule is not None:
        chosen = checked(parse_choice)(Rule, rule)
    if update_limit is not None:
        limit = checked(parse_scaled)(update_limit, PARAMETER_ONE, "--update-limit")
    inputs = [_parameters(base, "--base", spec, like)]
    inputs += [_parameters(update, "UPDATE", spec, None) for update in updates]
    terms = Terms(payment, window_blocks, key, fee, is_waited, no_wait, timeout_s, passphrase_file)
    _order(JobKind.AGGREGATE, inputs, AggregateArguments(spec, chosen, limit), terms)


def _order(kind: JobKind, inputs: Sequence[NamedBlob], arguments: Any, terms: Terms) -> None:
    if terms.is_waited and terms.no_wait:
        raise typer.BadParameter("--wait and --no-wait contradict each other")
    cids = tuple(blob.cid for blob in inputs)
    payment = checked(parse_amount)(terms.payment)
    job = SubmitJob(kind, cids, schema.encode(arguments), payment, terms.window_blocks)
    # The schema knows every bound; asking it here spares a round trip.
    schema.decode(type(arguments), job.arguments)
    schema.decode(SubmitJob, schema.encode(job))
    uploads = [blob.data for blob in inputs if blob.data is not None]
    signer = unlock(terms.key, terms.passphrase_file)
    if not terms.is_waited:
        submit(signer, job, terms.fee, terms.no_wait, terms.timeout_s, uploads)
        return

    async def run(client: Client) -> tuple[JobView, bytes]:
        id = await deliver(client, signer, job, terms.fee, uploads)
        # Apart from the result, and early: whoever interrupts the wait wants to ask again.
        print(f"job {id.hex()}", file=sys.stderr, flush=True)
        require_success(await client.wait(id, terms.timeout_s))
        settled = await wait_for_receipt(client, id, _longest_s(terms.window_blocks))
        return settled, await fetch_output(client, settled)

    tell_result(*ask(run))


def _longest_s(window_blocks: int) -> float:
    """Time in which the chain settles or refunds a job, at twice the usual block interval."""
    return WAIT_BLOCKS_MAX + (REASSIGNMENTS_MAX + 1) * window_blocks


def _find_task(id: str | None) -> TaskView | None:
    if id is None:
        return None
    wanted = checked(parse_id)(id)
    return ask(lambda client: client.task(wanted))


def _shape(kind: str, layers: str | None, activation: str, like: TaskView | None) -> ModelSpec:
    if layers is not None:
        return checked(parse_model)(kind, layers, activation)
    if like is None:
        raise typer.BadParameter("name the model's --layers, or a --task that tells them")
    return like.specification.model


def _parameters(text: str | None, name: str, spec: ModelSpec, like: TaskView | None) -> NamedBlob:
    blob = _blob(text, name, like.model if like else None)
    if blob.data is not None:
        check_fits(blob.data, spec, str(text))
    return blob


def _blob(text: str | None, name: str, fallback: Cid | None) -> NamedBlob:
    if text is not None:
        return name_blob(text)
    if fallback is None:
        raise typer.BadParameter(f"name {name}, a file or a CID, or a --task that tells it")
    return NamedBlob(fallback, None)
