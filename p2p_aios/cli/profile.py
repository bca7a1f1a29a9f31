"""`aios profile`: the nodes and keys that `aios init` has remembered."""

from typing import Annotated, Any

import typer

from p2p_aios.cli.display import emit_fields, emit_json, plain_text, print_table
from p2p_aios.cli.session import current
from p2p_aios.cli.settings import choose_profile, read_settings, remove_profile

app = typer.Typer(
    help="Which node to ask, which key signs, by name. `aios init NAME` makes one.",
    no_args_is_help=True,
    add_completion=False,
)
ProfileArgument = Annotated[str, typer.Argument(metavar="PROFILE", help="Its name.")]


@app.command("list")
def list_all() -> None:
    """List profiles. Tokens are not shown.

    \b
    aios profile list
    aios profile list --json
    """
    settings = read_settings(current().home)
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "rpc": profile.rpc,
            "key": profile.key,
            "has_token": profile.token is not None,
            "is_default": name == settings.default,
        }
        for name, profile in settings.profiles.items()
    ]
    if current().is_json:
        emit_json(rows)
    else:
        columns = ("name", "rpc", "key", "has_token", "is_default")
        print_table(columns, [[*map(plain_text, row.values())] for row in rows])


@app.command()
def use(name: ProfileArgument) -> None:
    """Make a profile the one that is used where none is named.

    \b
    aios profile use testnet
    """
    emit_fields({"default": name, "settings": str(choose_profile(current().home, name))})


@app.command()
def remove(name: ProfileArgument) -> None:
    """Forget a profile; its key stays where it is.

    \b
    aios profile remove testnet
    """
    emit_fields({"removed": name, "settings": str(remove_profile(current().home, name))})
