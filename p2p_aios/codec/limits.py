"""Bounds in annotations: `Annotated[bytes, Size(0, 64)]`, `Annotated[int, Range(1, 9)]`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Size:
    """Length bounds of bytes, of text (in UTF-8 bytes) or of a tuple, both ends included."""

    least: int
    most: int

    @staticmethod
    def exactly(length: int) -> "Size":
        return Size(length, length)


@dataclass(frozen=True, slots=True)
class Range:
    """Bounds of an integer, both ends included."""

    least: int
    most: int


@dataclass(frozen=True, slots=True, eq=False)
class Variants:
    """Tags of a union's dataclasses: each is written as [tag, *fields]. Tags are never reused."""

    by_tag: dict[int, type]
