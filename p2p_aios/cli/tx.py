"""`aios tx`: send value, and follow transactions."""

from typing import Annotated

import typer

from p2p_aios.cli.arguments import (
    AddressArgument,
    AmountArgument,
    FeeOption,
    IdArgument,
    KeyOption,
    PassphraseOption,
    TimeoutOption,
    unlock,
)
from p2p_aios.cli.display import emit, emit_fields
from p2p_aios.cli.session import ask
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.types.transaction import Action, Transfer
from p2p_aios.units import Address, Amount, Hash

app = typer.Typer(
    help="Send value, and follow transactions.", no_args_is_help=True, add_completion=False
)
NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Print the id once it is submitted; do not wait.")
]


@app.command()
def send(
    recipient: AddressArgument,
    amount: AmountArgument,
    key: KeyOption = "default",
    fee: FeeOption = None,
    no_wait: NoWaitOption = False,
    timeout_s: TimeoutOption = 30,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Send AMOUNT of AIOS to an address, and wait until that is final.

    \b
    aios tx send aios1... 12.5
    aios tx send bob 0.001 --key alice --no-wait
    """
    action = Transfer(Address(recipient), Amount(amount))
    submit(unlock(key, passphrase_file), action, fee, no_wait, timeout_s)


@app.command()
def show(id: IdArgument) -> None:
    """Show a transaction: pending or finalized, its height and its receipt.

    \b
    aios tx show 3f9c...
    """
    emit(ask(lambda client: client.transaction(Hash(id))))


@app.command()
def wait(id: IdArgument, timeout_s: TimeoutOption = 30) -> None:
    """Wait until a transaction is final, then show it.

    \b
    aios tx wait 3f9c... --timeout 60
    """
    emit(ask(lambda client: client.wait(Hash(id), timeout_s)))


def submit(key: KeyPair, action: Action, fee: int | None, no_wait: bool, timeout_s: float) -> None:
    """Send an action and print its id, or the final status of its transaction."""
    paid = None if fee is None else Amount(fee)
    if no_wait:
        id = ask(lambda client: client.send(key, action, fee=paid))
        emit_fields({"id": id.hex()})
        return
    emit(ask(lambda client: client.send_and_wait(key, action, fee=paid, timeout_s=timeout_s)))
