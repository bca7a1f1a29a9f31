"""Entry of `aios`: global options, command groups, and what becomes of errors.

Exit codes: 0 done, 1 refused (the request can never work as it is), 2 usage, 3 unavailable (try
later), 4 corrupt (the node's own data), 130 interrupted. Errors go to stderr as one sentence with
their code in brackets; with --json, to stdout as one object.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Final

import typer

from p2p_aios import __version__
from p2p_aios.cli import session
from p2p_aios.cli.plugins import RootGroup
from p2p_aios.errors import AiosError, Corrupt, Unavailable, invariant

GROUPS: Final = {
    "init": ("p2p_aios.cli.init:app", "Set up your folder: a key, and a profile with a node."),
    "doctor": ("p2p_aios.cli.doctor:app", "Look for what is wrong, and say what to do."),
    "key": ("p2p_aios.cli.key:app", "Make, import, list and show keys."),
    "profile": ("p2p_aios.cli.profile:app", "Which node to ask, which key signs, by name."),
    "account": ("p2p_aios.cli.account:app", "Balances and nonces."),
    "tx": ("p2p_aios.cli.tx:app", "Send value, and follow transactions."),
    "block": ("p2p_aios.cli.block:app", "Finalized blocks."),
    "events": ("p2p_aios.cli.events:app", "What finalized blocks did, as it happens."),
    "learn": ("p2p_aios.cli.learn:app", "Learning tasks: many train one model."),
    "job": ("p2p_aios.cli.job:app", "Compute jobs: paid for a signed receipt."),
    "blob": ("p2p_aios.cli.blob:app", "Models, updates and shards, by content address."),
    "worker": ("p2p_aios.cli.worker:app", "Contributors of computing power."),
    "node": ("p2p_aios.cli.node:app", "Run a node, and ask it how it is."),
    "db": ("p2p_aios.cli.db:app", "Check and compact the chain of a stopped node."),
}
"""Name, where it is, and what `aios --help` says without loading it."""
GLOBAL: Final = ("--rpc", "--profile")
"""Options of the root that take a value."""
REFUSED: Final = 1
USAGE: Final = 2
UNAVAILABLE: Final = 3
CORRUPT: Final = 4
INTERRUPTED: Final = 130

RootGroup.built_in = GROUPS

app = typer.Typer(
    cls=RootGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="AIOS: a computer that nobody owns.",
    epilog="Try: aios testnet demo · aios node status · aios key new. "
    "--rpc and --json may stand anywhere. Exit codes: 1 refused, 2 usage, 3 unavailable.",
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    rpc: Annotated[
        str | None,
        typer.Option(
            "--rpc",
            metavar="URL",
            help="Node to ask; default: $AIOS_RPC, the profile's, port 8645 here.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Node, key and token of $AIOS_HOME/config.toml; see aios init."
        ),
    ] = None,
    is_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON value a line, for programs.")
    ] = False,
    is_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
) -> None:
    """AIOS: a computer that nobody owns."""
    invariant(not is_version, "its callback has ended the command")
    session.open_session(rpc, is_json, profile or "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    given = hoist(list(sys.argv[1:] if arguments is None else arguments))
    is_json = "--json" in given
    try:
        result = typer.main.get_command(app).main(given, prog_name="aios", standalone_mode=False)
    except AiosError as fault:
        return _report(fault.code, fault.message, _exit_code(fault), is_json, fault.details)
    except typer.TyperException as error:
        return _report_usage(error, is_json)
    except typer.Abort:
        return INTERRUPTED
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseExceptionGroup as group:
        return _report_group(group, is_json)
    return result if isinstance(result, int) else 0


def hoist(arguments: list[str]) -> list[str]:
    """Move --rpc, --profile and --json before our own groups, wherever they stand; plugins get
    theirs."""
    if _group(arguments) not in GROUPS:
        return arguments
    front: list[str] = []
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--json" or word.startswith(tuple(f"{name}=" for name in GLOBAL)):
            front.append(word)
        elif word in GLOBAL:
            front += [word, *(value for value in [next(words, None)] if value is not None)]
        else:
            rest.append(word)
    return front + rest


def _group(arguments: list[str]) -> str | None:
    """The first word that is neither an option nor the value of a global one."""
    words = iter(arguments)
    for word in words:
        if word in GLOBAL:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None


def _exit_code(fault: AiosError) -> int:
    if isinstance(fault, Unavailable):
        return UNAVAILABLE
    return CORRUPT if isinstance(fault, Corrupt) else REFUSED


def _report(code: str, message: str, exit_code: int, is_json: bool, details: dict[str, Any]) -> int:
    if is_json:
        from p2p_aios.cli.display import emit_json

        emit_json({"error": {"code": code, "message": message, **details}})
    else:
        print(f"error [{code}]: {message}", file=sys.stderr)
    return exit_code


def _report_usage(error: typer.TyperException, is_json: bool) -> int:
    # Refusals of an argument carry their own code; see `arguments.checked`.
    cause = error.__cause__
    code = cause.code if isinstance(cause, AiosError) else "usage"
    message = error.format_message()
    context = getattr(error, "ctx", None)
    if context is not None and message == context.get_help():
        # No arguments at all: the help is the answer.
        if is_json:
            return _report(code, f"{context.command_path} takes a command", USAGE, is_json, {})
        print(message, file=sys.stderr)
        return USAGE
    if context is not None and not is_json:
        print(context.get_usage(), file=sys.stderr)
        end = "" if message.endswith("?") else "."
        message = f"{message.rstrip('.')}{end} See `{context.command_path} --help`."
    return _report(code, message, USAGE, is_json, {})


def _report_group(group: BaseExceptionGroup[BaseException], is_json: bool) -> int:
    """Nurseries wrap: tell the first expected error; re-raise where there is none."""
    if group.subgroup(KeyboardInterrupt) is not None:
        return INTERRUPTED
    faults = group.subgroup(AiosError)
    while isinstance(faults, BaseExceptionGroup):
        faults = faults.exceptions[0]  # type: ignore[assignment]
    if not isinstance(faults, AiosError):
        raise group
    return _report(faults.code, faults.message, _exit_code(faults), is_json, faults.details)


if __name__ == "__main__":
    sys.exit(main())
