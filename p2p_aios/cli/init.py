"""`aios init`: everything a first use needs."""

from typing import Annotated

import typer

from p2p_aios.cli.arguments import NoPassphraseOption, PassphraseOption, new_passphrase
from p2p_aios.cli.display import emit_fields
from p2p_aios.cli.keyring import add_key, key_address, key_path
from p2p_aios.cli.session import ask, current
from p2p_aios.cli.settings import Profile, write_profile
from p2p_aios.crypto.keys import format_address
from p2p_aios.crypto.keystore import generate_key
from p2p_aios.errors import AiosError, Unavailable

app = typer.Typer(add_completion=False)


@app.command()
def init(
    profile: Annotated[str, typer.Argument(metavar="PROFILE", help="Its name.")] = "local",
    key: Annotated[
        str, typer.Option("--key", "-k", help="Key that signs; made where there is none.")
    ] = "default",
    passphrase_file: PassphraseOption = None,
    no_passphrase: NoPassphraseOption = False,
) -> None:
    """Set up your folder: a key, and a profile with a node. May be repeated.

    A profile remembers what --rpc, $AIOS_TOKEN and --key say now; `--profile` chooses it later, and
    the last one made is used where none is chosen.

    \b
    aios init
    aios init testnet --rpc http://127.0.0.1:26782 --key alice
    """
    session = current()
    try:
        session.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(
            "settings_unwritable", f"cannot make {session.home}: {error.strerror}"
        ) from None
    is_new = not key_path(key).exists()
    if is_new:
        add_key(key, generate_key(), new_passphrase(key, passphrase_file, no_passphrase))
    chosen = Profile(session.rpc, key, session.token)
    file = write_profile(session.home, profile, chosen, is_default=True)
    emit_fields(
        {
            "profile": profile,
            "settings": str(file),
            "rpc": session.rpc,
            "network": _network(),
            "key": key,
            "is_new": is_new,
            "address": format_address(key_address(key)),
        }
    )


def _network() -> str | None:
    """Name of the node's network; None where the node does not answer yet."""
    try:
        return ask(lambda client: client.status()).network
    except AiosError:
        return None
