"""What became of a job: waiting for its receipt, and reading its output."""

from typing import TYPE_CHECKING, Any, Final

from p2p_aios.cli.display import emit, emit_fields, emit_json, score_text
from p2p_aios.cli.session import current
from p2p_aios.codec import schema
from p2p_aios.codec.cid import format_cid
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.types.compute import (
    AggregateArguments,
    EvaluateArguments,
    JobKind,
    TrainArguments,
)
from p2p_aios.types.learning import Score
from p2p_aios.types.views import JobState, JobView
from p2p_aios.units import Hash

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

ARGUMENTS: Final[dict[JobKind, type[Any]]] = {
    JobKind.TRAIN: TrainArguments,
    JobKind.EVALUATE: EvaluateArguments,
    JobKind.AGGREGATE: AggregateArguments,
}
POLL_S: Final = 0.5
"""A block's time: no job changes faster."""


async def wait_for_receipt(client: "Client", id: Hash, timeout_s: float) -> JobView:
    """The job once it is settled.

    Raises Unavailable: `job_refunded` where nobody delivered, `job_pending` after the time-out.
    """
    # Imported here: help and completion of this group need no trio.
    import trio

    deadline = trio.current_time() + timeout_s
    while True:
        job = await client.job(id)
        if job.state is JobState.SETTLED:
            return job
        if job.state is JobState.REFUNDED:
            raise Unavailable(
                "job_refunded",
                f"nobody delivered ({job.code}), and the payment came back; check the inputs and "
                "`aios worker list`, or try a longer --window",
            )
        if trio.current_time() >= deadline:
            raise Unavailable(
                "job_pending", f"{job.state.name.lower()} after {timeout_s:g} s; it goes on"
            )
        await trio.sleep(POLL_S)


async def fetch_output(client: "Client", job: JobView) -> bytes:
    """The output's bytes.

    Raises Invalid(`job_unsettled`), Unavailable(`blob_unavailable`) with what else can be done.
    """
    if job.receipt is None:
        raise Invalid("job_unsettled", f"no receipt yet: the job is {job.state.name.lower()}")
    try:
        return await client.get_blob(job.receipt.output)
    except Unavailable as error:
        if error.code != "blob_unavailable":
            raise
        raise Unavailable(
            error.code,
            f"job {job.id.hex()} is settled, but this node reaches no holder of its output; "
            "ask the worker's home node by --rpc: `aios job output` fetches it",
        ) from None


def tell_result(job: JobView, output: bytes, file: str | None = None) -> None:
    """Receipt and output; a score in full, models and updates by size."""
    receipt = job.receipt
    assert receipt is not None
    assert job.worker is not None
    told: dict[str, Any] = {
        "id": job.id.hex(),
        "kind": job.specification.kind.name.lower(),
        "worker": format_address(job.worker),
        "units": receipt.units,
        "output": format_cid(receipt.output),
        "bytes": len(output),
    }
    if file is not None:
        told["file"] = file
    score = read_score(job, output)
    if current().is_json:
        emit_json({**told, "score": None if score is None else schema.to_json(score)})
    else:
        emit_fields(told if score is None else {**told, "score": score_text(score)})


def read_score(job: JobView, output: bytes) -> Score | None:
    """Of an evaluation; raises Invalid(`output_malformed`) where its worker delivered none."""
    if job.specification.kind is not JobKind.EVALUATE:
        return None
    try:
        return schema.decode(Score, output)
    except Invalid as fault:
        raise Invalid("output_malformed", f"the worker's output is no score: {fault}") from None


def tell_arguments(job: JobView) -> None:
    """What a person reads instead of the encoded arguments; nothing where they are malformed."""
    try:
        arguments = schema.decode(ARGUMENTS[job.specification.kind], job.specification.arguments)
    except Invalid:
        return
    print("\narguments")
    emit(arguments)
