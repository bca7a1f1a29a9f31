"""`aios key`: make, import, list and show keys."""

from pathlib import Path
from typing import Annotated

import typer

from p2p_aios.cli.arguments import (
    NoPassphraseOption,
    PassphraseOption,
    new_passphrase,
    read_passphrase,
    unlock,
)
from p2p_aios.cli.display import emit_fields, emit_json, plain_text, print_table
from p2p_aios.cli.keyring import add_key, key_address, key_path, key_public, list_keys, public_pem
from p2p_aios.cli.session import current
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.crypto.keystore import export_public_pem, generate_key, is_encrypted, load_keystore
from p2p_aios.errors import Invalid

app = typer.Typer(
    help="Make, import, list and show keys. They live in $AIOS_HOME/keys (default ~/.aios/keys).",
    no_args_is_help=True,
    add_completion=False,
)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name, or path of a PEM file.")]


@app.command()
def new(
    name: NameArgument = "default",
    passphrase_file: PassphraseOption = None,
    no_passphrase: NoPassphraseOption = False,
) -> None:
    """Make a key and print its address.

    \b
    aios key new alice
    AIOS_PASSPHRASE=... aios key new alice
    aios key new test --no-passphrase
    """
    _add(name, generate_key(), new_passphrase(name, passphrase_file, no_passphrase))


@app.command("import")
def import_key(
    name: NameArgument,
    source: Annotated[Path, typer.Argument(metavar="FILE", help="PKCS#8 PEM, as OpenSSL writes.")],
    passphrase_file: PassphraseOption = None,
    no_passphrase: NoPassphraseOption = False,
) -> None:
    """Copy a key from a file. An encrypted one keeps its passphrase, another one gets a new one.

    \b
    aios key import alice backup/alice.pem
    aios key import test old.pem --no-passphrase
    """
    if is_encrypted(source):
        passphrase: str | None = read_passphrase(passphrase_file, f"Passphrase of {source}")
        key = load_keystore(source, passphrase)
    else:
        key = load_keystore(source, None)
        passphrase = new_passphrase(name, passphrase_file, no_passphrase)
    _add(name, key, passphrase)


@app.command("list")
def list_all() -> None:
    """List keys with their addresses; no passphrase is asked for.

    \b
    aios key list
    aios key list --json
    """
    rows = [_row(name) for name in list_keys()]
    if current().is_json:
        emit_json(rows)
    else:
        cells = [[*map(plain_text, row.values())] for row in rows]
        print_table(("name", "address", "encrypted"), cells)


@app.command()
def show(name: NameArgument = "default") -> None:
    """Show a key's address and public key; no passphrase is asked for.

    \b
    aios key show alice
    """
    public = key_public(name)
    emit_fields(
        {
            "name": name,
            "address": format_address(key_address(name)),
            "public_key": public.hex(),
            "encrypted": is_encrypted(key_path(name)),
            "file": str(key_path(name)),
        }
    )


@app.command("export-public")
def export_public(name: NameArgument = "default", passphrase_file: PassphraseOption = None) -> None:
    """Print the public key as PEM, which OpenSSL reads.

    \b
    aios key export-public alice > alice.pub.pem
    """
    sidecar = key_path(name).with_suffix(".pub")
    if key_path(name).exists() and not sidecar.exists():
        # By its path: the name `default` would stand for the profile's key.
        key = unlock(str(key_path(name)), passphrase_file)
        sidecar.write_text(export_public_pem(key))
    pem = public_pem(name)
    if current().is_json:
        emit_json({"name": name, "pem": pem})
    else:
        typer.echo(pem, nl=False)


def _add(name: str, key: KeyPair, passphrase: str | None) -> None:
    path = add_key(name, key, passphrase)
    emit_fields({"name": name, "address": format_address(key.address), "file": str(path)})


def _row(name: str) -> dict[str, object]:
    try:
        address: str | None = format_address(key_address(name))
        encrypted: bool | None = is_encrypted(key_path(name))
    except Invalid:
        # One damaged file must not hide the others; `show` says what is wrong with it.
        address, encrypted = None, None
    return {"name": name, "address": address, "encrypted": encrypted}
