"""`aios account`: balances."""

from typing import Annotated

import typer

from p2p_aios.cli.arguments import KEY_DEFAULT, checked, parse_owner, signing_name
from p2p_aios.cli.display import emit
from p2p_aios.cli.session import ask
from p2p_aios.units import Address

app = typer.Typer(help="Balances and nonces.", no_args_is_help=True, add_completion=False)


@app.command()
def show(
    owner: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|KEY", envvar="AIOS_KEY", help="An address, or one of your keys."
        ),
    ] = KEY_DEFAULT,
) -> None:
    """Show an account's balance and nonces: that of the key that signs, if none is named.

    \b
    aios account show
    aios account show aios1... --json
    """
    address: Address = checked(parse_owner)(signing_name(owner))
    emit(ask(lambda client: client.account(address)))


@app.command()
def supply() -> None:
    """Show where every AIOS is: circulating, reserve, escrows, treasury.

    \b
    aios account supply
    """
    emit(ask(lambda client: client.supply()))
