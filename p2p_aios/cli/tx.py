"""`aios tx`: send value, and follow transactions."""

from collections.abc import Sequence
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
from p2p_aios.cli.blobfile import upload
from p2p_aios.cli.display import emit, emit_fields, text_of
from p2p_aios.cli.session import ask, current
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.sdk.client import Client, require_success
from p2p_aios.types.transaction import Action, Transfer
from p2p_aios.types.views import TransactionStatus
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


def submit(
    key: KeyPair,
    action: Action,
    fee: int | None,
    no_wait: bool,
    timeout_s: float,
    uploads: Sequence[bytes] = (),
) -> Hash:
    """Send an action and tell its id, or how it became final; the id.

    uploads: blobs that the action names, given to the node before it.
    """

    async def run(client: Client) -> tuple[Hash, TransactionStatus | None]:
        id = await deliver(client, key, action, fee, uploads)
        if no_wait:
            return id, None
        status = await client.wait(id, timeout_s)
        require_success(status)
        return id, status

    id, status = ask(run)
    if status is None:
        emit_fields({"id": id.hex()})
    elif current().is_json:
        emit(status)
    else:
        _print_final(status)
    return id


async def deliver(
    client: Client, key: KeyPair, action: Action, fee: int | None, uploads: Sequence[bytes] = ()
) -> Hash:
    """Give the node the blobs that an action names, then the action; the transaction's id."""
    await upload(client, uploads)
    return await client.send(key, action, fee=None if fee is None else Amount(fee))


def _print_final(status: TransactionStatus) -> None:
    """What the sender did not know yet; `show` tells the rest."""
    receipt = status.receipt
    emit_fields(
        {
            "id": status.id.hex(),
            "final_at": f"height {status.height}",
            "fee": text_of(receipt.fee, Amount) if receipt else None,
        }
    )
