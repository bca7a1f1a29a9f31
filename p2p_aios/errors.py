"""Who erred, and under which stable code.

Every refusal carries a code that also appears in receipts and RPC errors. Codes are part of the
interface: they are never renamed, only added.
"""

from typing import Any, ClassVar


class AiosError(Exception):
    """Base of the three faults below; never raised itself."""

    kind: ClassVar[str] = "error"

    def __init__(self, code: str, message: str, **details: Any) -> None:
        super().__init__(message)
        self.code = code
        """Stable snake_case identifier, for programs."""
        self.message = message
        """One sentence that says what is wrong and what to do, for people."""
        self.details = details
        """Values behind the sentence, for programs; JSON-able."""

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Invalid(AiosError):
    """The remote party's fault: what it sent can never be accepted as it is."""

    kind = "invalid"


class Unavailable(AiosError):
    """Nobody's fault: try again later, or elsewhere."""

    kind = "unavailable"


class Corrupt(AiosError):
    """Our own disk lies: the process must stop."""

    kind = "corrupt"


class InvariantBroken(BaseException):
    """Our own fault: a state that cannot be. Not an Exception, so no boundary swallows it."""


def invariant(condition: bool, why: str) -> None:
    """Stop on an impossible state; unlike `assert` it survives `python -O`."""
    if not condition:
        raise InvariantBroken(why)
