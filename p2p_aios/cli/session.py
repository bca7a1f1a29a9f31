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

import typer

from p2p_aios.cli.settings import read_settings
from p2p_aios.codec.url import parse_url
from p2p_aios.errors import Invalid

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
    key: str | None = None
    """Key of the profile, which signs where none is named."""
    profile: str = ""
    """Name that the command line gave; empty where it gave none."""

    @property
    def keys(self) -> Path:
        return self.home / "keys"


_CURRENT: Final[ContextVar[Session]] = ContextVar("session")


def open_session(rpc: str | None, is_json: bool, profile: str | None = None) -> Session:
    """Make this invocation's session; the environment fills what the command line left out, and
    the profile what both did: None for that of the session so far, which plugins open anew.

    Raises Invalid: `unknown_profile`, `settings_malformed`; Unavailable(`settings_unreadable`);
    typer.BadParameter for a URL that is none.
    """
    home = Path(os.environ.get("AIOS_HOME") or Path.home() / ".aios")
    if profile is None:
        before = _CURRENT.get(None)
        profile = "" if before is None else before.profile
    chosen = read_settings(home).find(profile or os.environ.get("AIOS_PROFILE") or None)
    given = rpc or os.environ.get("AIOS_RPC")
    # A token is for one node: another one must not be shown it.
    token = None if given and _url(given) != _url(chosen.rpc or RPC_DEFAULT) else chosen.token
    session = Session(
        _url(given or chosen.rpc or RPC_DEFAULT),
        is_json,
        home,
        os.environ.get("AIOS_TOKEN") or token,
        chosen.key,
        profile,
    )
    _CURRENT.set(session)
    return session


def _url(place: str) -> str:
    """host:port is enough."""
    try:
        return parse_url(place if "://" in place else f"http://{place}")
    except Invalid as fault:
        raise typer.BadParameter(fault.message) from fault


def reopen_session(rpc: str | None, as_json: bool) -> None:
    """For commands of other packages: options may stand before or after the command's name."""
    open_session(rpc or current().rpc, as_json or current().is_json)


def current() -> Session:
    """This invocation's session; one from the environment where the root command did not run."""
    return _CURRENT.get(None) or open_session(None, False)


def ask(question: Callable[["Client"], Awaitable[T]], rpc: str | None = None) -> T:
    """Run `question` with a client of the session's node, or, without its token, of another."""
    # Imported here, so that commands that need no node start at once.
    import trio

    from p2p_aios.sdk import Client

    session = current()

    async def run() -> T:
        async with Client(rpc or session.rpc, None if rpc else session.token) as client:
            return await question(client)

    return trio.run(run)
