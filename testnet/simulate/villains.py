"""The dishonest validators by name; each is named for its villainy."""

from typing import Final

from testnet.simulate.couriers import Hoarder, Latecomer, Replayer, Silent, Splitter, Withholder
from testnet.simulate.liars import (
    DoubleDealer,
    Equivocator,
    Finalizer,
    Garbler,
    Nuller,
    Timewarper,
)
from testnet.simulate.validator import Validator

KINDS: Final[dict[str, type[Validator]]] = {
    "equivocator": Equivocator,
    "nuller": Nuller,
    "silent": Silent,
    "withholder": Withholder,
    "finalizer": Finalizer,
    "garbler": Garbler,
    "timewarper": Timewarper,
    "doubledealer": DoubleDealer,
    "replayer": Replayer,
    "splitter": Splitter,
    "hoarder": Hoarder,
    "latecomer": Latecomer,
}
"""Exactly the names of `conditions.VILLAINS`."""


def villain(name: str | None) -> type[Validator]:
    """The class behind a name; the honest one for None."""
    return Validator if name is None else KINDS[name]
