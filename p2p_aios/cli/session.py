"""What one invocation of `aios` knows: which node, which output, which keys.

Commands of other packages (entry points in `aios.commands`) read it too:

    from p2p_aios.cli.session import ask, current
    status = ask(lambda client: client.status())
    if current().is_json: ...
"""

import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from p2p_aios.sdk import Client

RPC_DEFAULT: Final = "http://127.0.0.1:8645"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    rpc: str
    """Base URL of the node to ask."""
    is_json: bool
    """Whether each line of output is one JSON value."""
    home: Path
    """Folder of the user's keys and settings."""
    token: str | None
    """Bearer token of the node."""

    @property
    def keys(self) -> Path:
        return self.home / "keys"


_CURRENT: Final[ContextVar[Session]] = ContextVar("session")


def open_session(rpc: str | None, is_json: bool) -> Session:
    """Make this invocation's session; the environment fills what the command line left out."""
    session = Session(
        _url(rpc or os.environ.get("AIOS_RPC") or RPC_DEFAULT),
        is_json,
        Path(os.environ.get("AIOS_HOME") or Path.home() / ".aios"),
        os.environ.get("AIOS_TOKEN") or None,
    )
    _CURRENT.set(session)
    return session


def _url(place: str) -> str:
    """host:port is enough."""
    return place if "://" in place else f"http://{place}"


def current() -> Session:
    """This invocation's session; one from the environment where the root command did not run."""
    return _CURRENT.get(None) or open_session(None, False)


def ask(question: Callable[["Client"], Awaitable[T]]) -> T:
    """Run `question` with a client of the session's node."""
    # Imported here, so that commands that need no node start at once.
    import trio

    from p2p_aios.sdk import Client

    session = current()

    async def run() -> T:
        async with Client(session.rpc, session.token) as client:
            return await question(client)

    return trio.run(run)
