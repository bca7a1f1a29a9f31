"""Options that describe a model's shape, and what they stand for."""

from enum import IntEnum
from typing import Annotated, Final, TypeVar

import typer

from p2p_aios.codec import schema
from p2p_aios.errors import Invalid
from p2p_aios.types.learning import (
    PARAMETER_BYTES,
    Activation,
    ModelKind,
    ModelSpec,
    count_parameters,
)

HEADER_BYTES_MAX: Final = 16
"""Longest start of a blob of parameters, before the parameters themselves."""
Choice = TypeVar("Choice", bound=IntEnum)

KindOption = Annotated[str, typer.Option("--model", metavar="KIND", help="mlp or linear.")]
LayersOption = Annotated[
    str | None,
    typer.Option("--layers", metavar="N,N,…", help="Widths from inputs to outputs, e.g. 64,64,10."),
]
ActivationOption = Annotated[
    str, typer.Option("--activation", metavar="NAME", help="relu or sigmoid; of an mlp.")
]


def parse_choice(kinds: type[Choice], text: str) -> Choice:
    """Raises Invalid(`unknown_choice`)."""
    try:
        return kinds[text.upper()]
    except KeyError:
        known = ", ".join(kind.name.lower() for kind in kinds)
        raise Invalid("unknown_choice", f"{text!r} is unknown; choose from {known}") from None


def parse_model(kind: str, layers: str, activation: str) -> ModelSpec:
    """Raises Invalid: `unknown_choice`, `layers_malformed`."""
    try:
        widths = tuple(int(width) for width in layers.split(","))
        spec = ModelSpec(
            parse_choice(ModelKind, kind), widths, parse_choice(Activation, activation)
        )
        # The schema knows how many layers there may be, and how wide.
        return schema.decode(ModelSpec, schema.encode(spec))
    except ValueError:
        raise Invalid("layers_malformed", f"{layers!r} is not a list such as 64,64,10") from None
    except Invalid as fault:
        if fault.code == "unknown_choice":
            raise
        raise Invalid("layers_malformed", f"{layers!r}: {fault.message}") from None


def check_fits(blob: bytes, spec: ModelSpec, name: str) -> None:
    """Refuse parameters of another shape before they cost anything.

    Contributors and validators read the blob itself; its length tells the common mistakes. Raises
    Invalid(`model_misshapen`).
    """
    count = count_parameters(spec)
    wanted = count * PARAMETER_BYTES
    if not wanted <= len(blob) <= wanted + HEADER_BYTES_MAX:
        layers = ",".join(map(str, spec.layers))
        found = len(blob) // PARAMETER_BYTES
        raise Invalid(
            "model_misshapen",
            f"{name} has room for {found} parameters; layers {layers} take {count}",
        )
