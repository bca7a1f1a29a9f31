"""`aios tx`: send value, and follow transactions."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from p2p_aios.cli.arguments import (
    AddressArgument,
    AmountArgument,
    IdArgument,
    KeyOption,
    PassphraseOption,
    TimeoutOption,
    unlock,
)
from p2p_aios.cli.display import emit, emit_fields, emit_json
from p2p_aios.cli.optiongroup import spread
from p2p_aios.cli.session import ask, current
from p2p_aios.cli.signing import Signing, submit
from p2p_aios.cli.transferfile import read_transfers
from p2p_aios.codec import schema
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import AiosError, Invalid
from p2p_aios.types.transaction import (
    TRANSACTION_BYTES_MAX,
    Transaction,
    Transfer,
    check_transaction,
)
from p2p_aios.units import Address, Amount, Hash

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

app = typer.Typer(
    help="Send value, and follow transactions.", no_args_is_help=True, add_completion=False
)
IN_FLIGHT_MAX: Final = 32
"""Of a batch: a node takes 64 of one account at once, and some may still wait there."""


@app.command()
@spread
def send(recipient: AddressArgument, amount: AmountArgument, signing: Signing) -> None:
    """Send AMOUNT of AIOS to an address, and wait until that is final.

    \b
    aios tx send aios1... 12.5
    aios tx send bob 0.001 --key alice --no-wait
    """
    submit(signing, Transfer(Address(recipient), Amount(amount)))


@app.command()
def show(
    id: IdArgument,
    is_raw: Annotated[
        bool, typer.Option("--raw", help="Only the encoded transaction, in hex.")
    ] = False,
) -> None:
    """Show a transaction: pending or finalized, its height and its receipt.

    \b
    aios tx show 3f9c...
    aios tx show 3f9c... --raw
    """
    status = ask(lambda client: client.transaction(Hash(id)))
    if not is_raw:
        emit(status)
        return
    raw = schema.encode(status.transaction).hex()
    if current().is_json:
        emit_json({"id": status.id.hex(), "raw": raw})
    else:
        print(raw)


@app.command()
def wait(id: IdArgument, timeout_s: TimeoutOption = 30) -> None:
    """Wait until a transaction is final, then show it.

    \b
    aios tx wait 3f9c... --timeout 60
    """
    emit(ask(lambda client: client.wait(Hash(id), timeout_s)))


@app.command()
def batch(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV or JSON lines: to, amount.")],
    key: KeyOption = "default",
    timeout_s: TimeoutOption = 30,
    passphrase_file: PassphraseOption = None,
) -> None:
    """Send many transfers in the order of the file, and tell of each how it became final.

    The file is checked before anything is sent. A line that the node refuses, or that fails, ends
    it with status 1: of the few lines that were under way with it, each is told of.

    \b
    aios tx batch payroll.csv --key alice
    """
    transfers = read_transfers(file)
    signer = unlock(key, passphrase_file)

    async def run(client: "Client") -> None:
        for start in range(0, len(transfers), IN_FLIGHT_MAX):
            await _send_lines(client, signer, transfers[start : start + IN_FLIGHT_MAX], timeout_s)

    ask(run)


async def _send_lines(
    client: "Client", key: KeyPair, lines: Sequence[tuple[int, Transfer]], timeout_s: float
) -> None:
    """As many as may wait at once: send all, then wait for each."""
    # Imported here: help and completion of this group need no client.
    from p2p_aios.sdk.client import require_success

    sent: list[tuple[int, Hash]] = []
    fault: AiosError | None = None
    for line, transfer in lines:
        try:
            sent.append((line, await client.send(key, transfer)))
        except AiosError as refusal:
            # Those that were sent are told of first.
            fault = refusal
            fault.message = f"line {line}: {fault.message}"
            break
    for line, id in sent:
        status = await client.wait(id, timeout_s)
        code = status.receipt.code if status.receipt else None
        told = {"line": line, "id": id.hex(), "height": status.height, "code": code}
        if current().is_json:
            emit_json(told)
        else:
            print(f"line {line}  {id.hex()}  height {status.height}  {code}", flush=True)
        try:
            require_success(status)
        except Invalid as failure:
            fault = fault or failure
    if fault is not None:
        raise fault


@app.command()
def decode(
    raw: Annotated[str, typer.Argument(metavar="RAW", help="The encoded transaction, in hex.")],
) -> None:
    """Decode a transaction and check its signature, without asking any node.

    \b
    aios tx decode 8284...
    """
    try:
        encoded = bytes.fromhex(raw.removeprefix("0x"))
    except ValueError:
        raise Invalid("raw_malformed", "a transaction is given in hex digits") from None
    transaction = schema.decode(Transaction, encoded, TRANSACTION_BYTES_MAX)
    checked = check_transaction(encoded, transaction.body.chain_id)
    if current().is_json:
        emit_json({"id": checked.id.hex(), "transaction": schema.to_json(transaction)})
        return
    emit_fields({"id": checked.id.hex(), "from": format_address(checked.sender)})
    emit(transaction)
