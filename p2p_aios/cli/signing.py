"""What every command that signs a transaction shares: its options, and how it tells the outcome."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_aios.cli.arguments import (
    FeeOption,
    KeyOption,
    PassphraseOption,
    TimeoutOption,
    unlock,
)
from p2p_aios.cli.blobfile import upload
from p2p_aios.cli.display import emit, emit_fields, text_of
from p2p_aios.cli.session import ask, current
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.types.transaction import Action
from p2p_aios.types.views import TransactionStatus
from p2p_aios.units import Amount, Hash

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

NoWaitOption = Annotated[
    bool, typer.Option("--no-wait", help="Print the id once it is submitted; do not wait.")
]


@dataclass(frozen=True, slots=True)
class Signing:
    """Who signs, what is paid for it, and how long to wait."""

    key: KeyOption = "default"
    fee: FeeOption = None
    no_wait: NoWaitOption = False
    timeout_s: TimeoutOption = 30
    passphrase_file: PassphraseOption = None

    def unlock(self) -> KeyPair:
        """The key; raises as `arguments.unlock`."""
        return unlock(self.key, self.passphrase_file)


def submit(signing: Signing, action: Action, uploads: Sequence[bytes] = ()) -> Hash:
    """Sign and send an action and tell its id, or how it became final; the id.

    uploads: blobs that the action names, given to the node before it.
    """
    # Imported here: help and completion of this group need no client.
    from p2p_aios.sdk.client import require_success

    key = signing.unlock()

    async def run(client: "Client") -> tuple[Hash, TransactionStatus | None]:
        id = await deliver(client, key, action, signing.fee, uploads)
        if signing.no_wait:
            return id, None
        status = await client.wait(id, signing.timeout_s)
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
    client: "Client", key: KeyPair, action: Action, fee: int | None, uploads: Sequence[bytes] = ()
) -> Hash:
    """Give the node the blobs that an action names, then the action; the transaction's id."""
    await upload(client, uploads)
    return await client.send(key, action, fee=None if fee is None else Amount(fee))


def _print_final(status: TransactionStatus) -> None:
    """What the sender did not know yet; `aios tx show` tells the rest."""
    receipt = status.receipt
    emit_fields(
        {
            "id": status.id.hex(),
            "final_at": f"height {status.height}",
            "fee": text_of(receipt.fee, Amount) if receipt else None,
        }
    )
