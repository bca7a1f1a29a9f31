"""The user's keys: `NAME.pem` in the keys folder, each beside its public half `NAME.pub`.

The public half lets `list` and `show` work without a passphrase.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import ecdsa

from p2p_aios.cli.session import current
from p2p_aios.crypto.keys import KeyPair, address_of
from p2p_aios.crypto.keystore import (
    export_public_pem,
    is_encrypted,
    load_keystore,
    save_keystore,
)
from p2p_aios.errors import Invalid
from p2p_aios.units import Address, PublicKey

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")


def key_path(name: str) -> Path:
    """File of the key `name`, which may be a path itself; raises Invalid(`key_name_malformed`)."""
    if "/" in name or name.endswith(".pem"):
        return Path(name)
    if not _NAME.fullmatch(name):
        raise Invalid("key_name_malformed", f"{name!r}: use letters, digits, - and _, at most 64")
    return current().keys / f"{name}.pem"


def add_key(name: str, key: KeyPair, passphrase: str | None) -> Path:
    """Write both halves; raises as `save_keystore`."""
    path = key_path(name)
    save_keystore(path, key, passphrase)
    path.with_suffix(".pub").write_text(export_public_pem(key))
    return path


def list_keys() -> Iterator[str]:
    """Names of the keys in the folder."""
    return (path.stem for path in sorted(current().keys.glob("*.pem")))


def public_pem(name: str) -> str:
    """The public half, of an unencrypted key from the key itself.

    Raises Invalid: `unknown_key`, `public_key_missing`, and as `load_keystore`.
    """
    path = key_path(name)
    if not path.exists():
        raise Invalid("unknown_key", f"no key {name!r} in {path.parent}; `aios key new` makes one")
    try:
        return path.with_suffix(".pub").read_text()
    except (FileNotFoundError, UnicodeDecodeError):
        if not is_encrypted(path):
            return export_public_pem(load_keystore(path, None))
        raise Invalid(
            "public_key_missing",
            f"{path.with_suffix('.pub')} is missing; `aios key export-public {name}` restores it",
        ) from None


def key_public(name: str) -> PublicKey:
    """Compressed public key; raises as `public_pem`, and Invalid(`public_key_malformed`)."""
    try:
        verifier = ecdsa.VerifyingKey.from_pem(public_pem(name))
    except (ValueError, ecdsa.der.UnexpectedDER, ecdsa.keys.MalformedPointError):
        raise Invalid(
            "public_key_malformed", f"the .pub file of {name} is damaged; remove and restore it"
        ) from None
    return PublicKey(bytes(verifier.to_string("compressed")))


def key_address(name: str) -> Address:
    return address_of(key_public(name))
