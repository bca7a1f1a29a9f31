"""Parsers of command-line values, and the options that several commands share."""

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, ParamSpec, TypeVar

import typer

from p2p_aios.cli.session import current
from p2p_aios.crypto.keys import KeyPair, parse_address
from p2p_aios.errors import AiosError, Invalid
from p2p_aios.units import Address, Hash, parse_amount

PASSPHRASE_BYTES_MAX: Final = 4096
KEY_DEFAULT: Final = "default"
Given = ParamSpec("Given")
T = TypeVar("T")


def checked(parse: Callable[Given, T]) -> Callable[Given, T]:
    """`parse` with refusals as usage errors; their code survives as the cause."""

    def convert(*given: Given.args, **named: Given.kwargs) -> T:
        try:
            return parse(*given, **named)
        except AiosError as fault:
            raise typer.BadParameter(fault.message) from fault

    return convert


def parse_id(text: str) -> Hash:
    """Raises Invalid(`id_malformed`)."""
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        value = b""
    if len(value) != 32:
        raise Invalid("id_malformed", f"{text!r} is not an id: they are 64 hex digits")
    return Hash(value)


def parse_owner(text: str) -> Address:
    """An address, or the name of one of the user's keys.

    Raises Invalid: `address_malformed`, and as `key_address`.
    """
    from p2p_aios.cli.keyring import key_address

    return parse_address(text) if text.lower().startswith("aios1") else key_address(text)


def parse_place(text: str) -> int | Hash:
    """A height, or a block hash; raises Invalid(`id_malformed`)."""
    if text.isdecimal() and len(text) < 20:
        return int(text)
    try:
        return parse_id(text)
    except Invalid as fault:
        fault.message = f"{text!r} is neither a height nor a hash of 64 hex digits"
        raise


AddressArgument = Annotated[
    bytes, typer.Argument(parser=checked(parse_owner), metavar="ADDRESS|KEY")
]
AmountArgument = Annotated[int, typer.Argument(parser=checked(parse_amount), metavar="AMOUNT")]
IdArgument = Annotated[bytes, typer.Argument(parser=checked(parse_id), metavar="ID")]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key", "-k", envvar="AIOS_KEY", help="Key that signs: a name, or the path of a PEM file."
    ),
]
FeeOption = Annotated[
    int | None,
    typer.Option(
        parser=checked(parse_amount), metavar="AMOUNT", help="Fee in AIOS; default: the least."
    ),
]
TimeoutOption = Annotated[float, typer.Option("--timeout", help="Seconds to wait until final.")]
PassphraseOption = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        envvar="AIOS_PASSPHRASE_FILE",
        help="Its first line is the passphrase; a file of yours alone, or a pipe: /dev/fd/3.",
    ),
]
NoPassphraseOption = Annotated[
    bool, typer.Option("--no-passphrase", help="Leave the file unencrypted: for test keys.")
]


def read_passphrase(file: Path | None, question: str, *, is_new: bool = False) -> str:
    """From the file, else $AIOS_PASSPHRASE, else asked for at the terminal.

    Raises Invalid: `passphrase_file_unreadable`, `passphrase_file_mode`, `passphrase_required`.
    """
    if file is not None:
        return _first_line(file)
    if (given := os.environ.get("AIOS_PASSPHRASE")) is not None:
        return given
    if not sys.stdin.isatty():
        raise Invalid(
            "passphrase_required",
            "no terminal to ask at: use --passphrase-file, or set AIOS_PASSPHRASE",
        )
    return str(typer.prompt(question, hide_input=True, confirmation_prompt=is_new, err=True))


def new_passphrase(name: str, file: Path | None, no_passphrase: bool) -> str | None:
    """What shall protect a key; None for nothing. Raises Invalid(`passphrase_empty`)."""
    if no_passphrase:
        return None
    passphrase = read_passphrase(file, f"New passphrase of {name}", is_new=True)
    if not passphrase:
        raise Invalid(
            "passphrase_empty", "an empty passphrase protects nothing: say --no-passphrase"
        )
    return passphrase


def unlock(name: str, passphrase_file: Path | None) -> KeyPair:
    """The key called `name`; asks for its passphrase only where there is one.

    `default` is the profile's key, where that names one.
    """
    from p2p_aios.cli.keyring import key_path
    from p2p_aios.crypto.keystore import is_encrypted, load_keystore

    name = signing_name(name)
    path = key_path(name)
    if not is_encrypted(path):
        return load_keystore(path, None)
    return load_keystore(path, read_passphrase(passphrase_file, f"Passphrase of {name}"))


def signing_name(name: str) -> str:
    """The key that signs where `name` stands on the command line."""
    return current().key or name if name == KEY_DEFAULT else name


def _first_line(file: Path) -> str:
    try:
        with file.open("rb") as lines:
            # Of the open file, so that nobody can swap it; a pipe is its reader's alone.
            status = os.fstat(lines.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & 0o077:
                raise Invalid(
                    "passphrase_file_mode",
                    f"{file} has mode {stat.S_IMODE(status.st_mode):04o}, so others may read it; "
                    f"run `chmod 600 {file}`",
                )
            line = lines.readline(PASSPHRASE_BYTES_MAX).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid("passphrase_file_unreadable", f"cannot read {file}: {error}") from None
    return line.rstrip("\r\n")
