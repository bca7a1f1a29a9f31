"""How often each method was called, with what outcome, and how long it took."""

from typing import Final

SUCCESS: Final = "ok"
OTHER: Final = "other"
"""In place of a method's name: calls of no method there is, and messages refused as a whole."""


class CallMeter:
    """Figures since the node began. Names are those of methods, codes are our own: closed sets."""

    def __init__(self) -> None:
        self.calls: dict[tuple[str, str], int] = {}
        """Method and outcome (SUCCESS or an error's code) to how often."""
        self.seconds: dict[str, float] = {}
        """Method to the time that its calls took together, their waiting included."""

    def note(self, method: str, code: str, seconds: float = 0.0) -> None:
        """A call has ended."""
        self.calls[method, code] = self.calls.get((method, code), 0) + 1
        self.seconds[method] = self.seconds.get(method, 0.0) + seconds
