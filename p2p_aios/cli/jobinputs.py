"""What a job works on: a model's shape, parameters and shards, named by people.

A model or shard is named by a file, which is uploaded, or by CID. `--task` takes whatever is left
out from a learning task: the model's shape, its latest parameters, the test shard, plan and rule.
"""

from dataclasses import dataclass
from typing import Annotated

import typer

from p2p_aios.cli.arguments import checked, parse_id
from p2p_aios.cli.blobfile import NamedBlob, name_blob
from p2p_aios.cli.modeloptions import (
    ActivationOption,
    KindOption,
    LayersOption,
    check_fits,
    parse_model,
)
from p2p_aios.cli.session import ask
from p2p_aios.types.learning import ModelSpec, SubmitTask
from p2p_aios.types.views import TaskView
from p2p_aios.units import Cid

TaskOption = Annotated[
    str | None,
    typer.Option("--task", metavar="ID", help="Learning task that tells whatever is left out."),
]


@dataclass(frozen=True, slots=True)
class Shape:
    """Options that say what the model looks like."""

    kind: KindOption = "mlp"
    layers: LayersOption = None
    activation: ActivationOption = "relu"
    task: TaskOption = None


@dataclass(frozen=True, slots=True)
class Subject:
    """What a job works on, with the task that fills in what was left out, if one was named."""

    spec: ModelSpec
    task: TaskView | None

    @property
    def specification(self) -> SubmitTask | None:
        return self.task.specification if self.task else None

    def model(self, text: str | None, name: str) -> NamedBlob:
        """The parameters to start from: those named by `text`, or the task's latest."""
        return self.parameters(text, name, self.task.model if self.task else None)

    def shard(self, text: str | None, name: str) -> NamedBlob:
        """The rows named by `text`, or the task's test shard."""
        return _blob(text, name, self.specification.test_shard if self.specification else None)

    def parameters(self, text: str | None, name: str, fallback: Cid | None = None) -> NamedBlob:
        """A model or an update; a file's length must fit the shape."""
        blob = _blob(text, name, fallback)
        if blob.data is not None:
            check_fits(blob.data, self.spec, str(text))
        return blob


def find_subject(shape: Shape) -> Subject:
    """Asks the node for the task, where one is named."""
    task = None
    if shape.task is not None:
        id = checked(parse_id)(shape.task)
        task = ask(lambda client: client.task(id))
    if shape.layers is not None:
        return Subject(checked(parse_model)(shape.kind, shape.layers, shape.activation), task)
    if task is None:
        raise typer.BadParameter("name the model's --layers, or a --task that tells them")
    return Subject(task.specification.model, task)


def _blob(text: str | None, name: str, fallback: Cid | None) -> NamedBlob:
    if text is not None:
        return name_blob(text)
    if fallback is None:
        raise typer.BadParameter(f"name {name}, a file or a CID, or a --task that tells it")
    return NamedBlob(fallback, None)
