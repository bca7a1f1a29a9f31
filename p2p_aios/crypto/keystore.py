"""Key files: a secp256k1 secret as PKCS#8 PEM, mode 0600.

With a passphrase the file is an EncryptedPrivateKeyInfo (RFC 5958 §3, PBES2 of RFC 8018:
PBKDF2-HMAC-SHA256, AES-256-CBC), which OpenSSL reads too; without one it is plain PKCS#8, written
and read by the `ecdsa` package. A file is never overwritten, and one that others may read is
refused: whoever copied it owns the account.

The envelope is put together here because `cryptography` writes it with 2,048 PBKDF2 rounds, two
hundred times too few for a file that guards money; reading goes through `cryptography`.
"""

import hashlib
import os
import secrets
import stat
from pathlib import Path
from typing import Final

import ecdsa
from ecdsa import der
from ecdsa.curves import UnknownCurveError
from ecdsa.keys import MalformedPointError

from p2p_aios.crypto.keys import ORDER, KeyPair
from p2p_aios.errors import Invalid, Unavailable

PBKDF2_ROUNDS: Final = 600_000
"""OWASP's figure for PBKDF2-HMAC-SHA256; about 0.2 s to open a file."""
PBKDF2_ROUNDS_MAX: Final = 10_000_000
"""Most that a file may ask for; it is read before it is trusted."""
KEYSTORE_BYTES_MAX: Final = 16 * 1024
"""Larger files are not keystores."""
MODE: Final = 0o600
_ENCRYPTED: Final = b"-----BEGIN ENCRYPTED PRIVATE KEY-----"
_PLAIN: Final = b"-----BEGIN PRIVATE KEY-----"
_PLAIN_END: Final = b"-----END PRIVATE KEY-----"
_OID_PBES2: Final = (1, 2, 840, 113549, 1, 5, 13)
_OID_PBKDF2: Final = (1, 2, 840, 113549, 1, 5, 12)
_OID_HMAC_SHA256: Final = (1, 2, 840, 113549, 2, 9)
_OID_AES_256_CBC: Final = (2, 16, 840, 1, 101, 3, 4, 1, 42)
_DER_NULL: Final = b"\x05\x00"
_PUBLIC_HEAD: Final = b"\xa1\x44\x03\x42\x00"
"""Before an uncompressed public key at the end of an ECPrivateKey (RFC 5915)."""


def generate_key() -> KeyPair:
    """A fresh key from the system's randomness."""
    return KeyPair.from_secret((secrets.randbelow(ORDER - 1) + 1).to_bytes(32, "big"))


def save_keystore(path: Path, key: KeyPair, passphrase: str | None) -> None:
    """Write `key` to a new file at `path`; an empty or absent passphrase leaves it unencrypted.

    Raises Invalid(`keystore_exists`), Unavailable(`keystore_unwritable`).
    """
    pem = encrypt_pem(key, passphrase) if passphrase else encode_pem(key)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write_new(path, pem)
    except OSError as error:
        raise Unavailable("keystore_unwritable", f"cannot write {path}: {error.strerror}") from None


def load_keystore(path: Path, passphrase: str | None) -> KeyPair:
    """The key in the file at `path`.

    Raises Invalid: `keystore_missing`, `keystore_mode`, `keystore_malformed`,
    `passphrase_required`, `passphrase_wrong`, `curve_wrong`; Unavailable(`keystore_unreadable`).
    """
    pem = _read_private(path)
    return decrypt_pem(pem, passphrase) if pem.startswith(_ENCRYPTED) else decode_pem(pem)


def is_encrypted(path: Path) -> bool:
    """Whether opening `path` takes a passphrase; raises as `load_keystore` does."""
    return _read_private(path).startswith(_ENCRYPTED)


def encode_pem(key: KeyPair) -> bytes:
    """Unencrypted PKCS#8."""
    signer = ecdsa.SigningKey.from_string(key.secret, ecdsa.SECP256k1)
    return bytes(signer.to_pem(format="pkcs8"))


def decode_pem(pem: bytes) -> KeyPair:
    """Inverse of `encode_pem`; raises Invalid: `keystore_malformed`, `curve_wrong`."""
    if not (pem.startswith(_PLAIN) and pem.rstrip().endswith(_PLAIN_END)):
        raise _malformed("it is not one whole private key")
    try:
        signer = ecdsa.SigningKey.from_pem(pem.decode("ascii"))
    except (ValueError, IndexError, der.UnexpectedDER, MalformedPointError) as error:
        raise _malformed(str(error)) from None
    except UnknownCurveError:
        raise _wrong_curve("foreign") from None
    if signer.curve.name != ecdsa.SECP256k1.name:
        raise _wrong_curve(signer.curve.name)
    _, found, public = bytes(der.unpem(pem)).rpartition(_PUBLIC_HEAD)
    if found and public != signer.verifying_key.to_string("uncompressed"):
        raise _malformed("its secret and its public half do not belong together")
    return KeyPair.from_secret(signer.to_string())


def encrypt_pem(key: KeyPair, passphrase: str) -> bytes:
    """PKCS#8 under a passphrase, which must not be empty."""
    # `cryptography` is imported where it is used: it would slow the start of `aios key list`.
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
    from cryptography.hazmat.primitives.padding import PKCS7

    salt, start = secrets.token_bytes(16), secrets.token_bytes(16)
    derived = hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, PBKDF2_ROUNDS)
    padder = PKCS7(128).padder()
    plain = padder.update(_private_key_info(key)) + padder.finalize()
    sealer = Cipher(algorithms.AES256(derived), modes.CBC(start)).encryptor()
    sealed = sealer.update(plain) + sealer.finalize()
    envelope = der.encode_sequence(_algorithm(salt, start), der.encode_octet_string(sealed))
    return bytes(der.topem(envelope, "ENCRYPTED PRIVATE KEY"))


def decrypt_pem(pem: bytes, passphrase: str | None) -> KeyPair:
    """Inverse of `encrypt_pem`, for OpenSSL's files too; raises as `load_keystore` does."""
    if not passphrase:
        raise Invalid("passphrase_required", "this keystore is encrypted: give its passphrase")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    envelope = _checked_envelope(pem)
    try:
        private = load_der_private_key(envelope, passphrase.encode())
    except ValueError:
        # The format has no checksum: a wrong key shows as wrong padding, or as nonsense within.
        raise Invalid("passphrase_wrong", "the passphrase does not open this key") from None
    except UnsupportedAlgorithm:
        raise _wrong_curve("foreign") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise _wrong_curve(type(private).__name__)
    if not isinstance(private.curve, ec.SECP256K1):
        raise _wrong_curve(private.curve.name)
    return KeyPair.from_secret(private.private_numbers().private_value.to_bytes(32, "big"))


def export_public_pem(key: KeyPair) -> str:
    """The public key as SubjectPublicKeyInfo PEM (RFC 5480)."""
    verifier = ecdsa.VerifyingKey.from_string(key.public_key, ecdsa.SECP256k1)
    return str(verifier.to_pem().decode("ascii"))


def _private_key_info(key: KeyPair) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    # Not from `ecdsa`, whose PKCS#8 says version 1, which `cryptography` does not read.
    private = ec.derive_private_key(int.from_bytes(key.secret, "big"), ec.SECP256K1())
    return private.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _algorithm(salt: bytes, start: bytes) -> bytes:
    mac = der.encode_sequence(der.encode_oid(*_OID_HMAC_SHA256), _DER_NULL)
    derivation = der.encode_sequence(
        der.encode_octet_string(salt), der.encode_integer(PBKDF2_ROUNDS), mac
    )
    parameters = der.encode_sequence(
        der.encode_sequence(der.encode_oid(*_OID_PBKDF2), derivation),
        der.encode_sequence(der.encode_oid(*_OID_AES_256_CBC), der.encode_octet_string(start)),
    )
    return bytes(der.encode_sequence(der.encode_oid(*_OID_PBES2), parameters))


def _checked_envelope(pem: bytes) -> bytes:
    """The DER of an encrypted key whose derivation takes a bounded time.

    Raises Invalid(`keystore_malformed`).
    """
    try:
        envelope = bytes(der.unpem(pem))
        algorithm, _ = der.remove_sequence(der.remove_sequence(envelope)[0])
        scheme, parameters = der.remove_object(algorithm)
        derivation, _ = der.remove_sequence(der.remove_sequence(parameters)[0])
        function, salted = der.remove_object(derivation)
        if (scheme, function) != (_OID_PBES2, _OID_PBKDF2):
            raise _malformed("its passphrase does not go through PBKDF2")
        _, counted = der.remove_octet_string(der.remove_sequence(salted)[0])
        rounds, _ = der.remove_integer(counted)
    except (ValueError, IndexError, der.UnexpectedDER) as error:
        raise _malformed(str(error)) from None
    if not 1 <= rounds <= PBKDF2_ROUNDS_MAX:
        raise _malformed(f"at most {PBKDF2_ROUNDS_MAX} rounds of PBKDF2 are accepted")
    return envelope


def _write_new(path: Path, data: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, MODE)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # A hard link, unlike a rename, fails where the name is taken.
        os.link(draft, path)
    except FileExistsError:
        raise Invalid(
            "keystore_exists", f"{path} exists and is never overwritten; choose another name"
        ) from None
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            # Checked on the open file, so that nobody can swap it in between.
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise Invalid(
                    "keystore_mode",
                    f"{path} has mode {mode:04o}, so others may have read it; "
                    f"run `chmod 600 {path}` if you are sure that nobody did",
                )
            pem = file.read(KEYSTORE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise Invalid(
            "keystore_missing", f"there is no key file {path}; `aios key new` makes one"
        ) from None
    except OSError as error:
        raise Unavailable("keystore_unreadable", f"cannot read {path}: {error.strerror}") from None
    if len(pem) > KEYSTORE_BYTES_MAX:
        raise _malformed("it is too large")
    return pem


def _malformed(why: str) -> Invalid:
    return Invalid("keystore_malformed", f"not a PKCS#8 PEM key file: {why}")


def _wrong_curve(found: str) -> Invalid:
    return Invalid("curve_wrong", f"the file holds a {found} key; AIOS uses secp256k1")
