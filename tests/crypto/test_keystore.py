"""Key files: round trips, independent readers, and every refusal with its code."""

import base64
import contextlib
import itertools
import stat
from pathlib import Path

import ecdsa
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from ecdsa import der

from p2p_aios.crypto import keystore
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid, Unavailable

KEY = KeyPair.from_secret(bytes(range(1, 33)))
PASSPHRASE = "correct horse — Batterie"


def refused(path: Path, passphrase: str | None) -> str:
    with pytest.raises(Invalid) as caught:
        keystore.load_keystore(path, passphrase)
    assert KEY.secret.hex() not in caught.value.message
    return caught.value.code


@pytest.mark.parametrize("passphrase", [None, "", PASSPHRASE])
def test_round_trip(tmp_path: Path, passphrase: str | None) -> None:
    path = tmp_path / "keys" / "one.pem"
    keystore.save_keystore(path, KEY, passphrase)
    assert keystore.load_keystore(path, passphrase) == KEY
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert keystore.is_encrypted(path) == bool(passphrase)
    assert [entry.name for entry in path.parent.iterdir()] == ["one.pem"]


def test_small_secret_keeps_its_32_bytes(tmp_path: Path) -> None:
    key = KeyPair.from_secret((7).to_bytes(32, "big"))
    for index, passphrase in enumerate((None, PASSPHRASE)):
        keystore.save_keystore(tmp_path / str(index), key, passphrase)
        assert keystore.load_keystore(tmp_path / str(index), passphrase) == key


def test_generated_keys_differ() -> None:
    assert keystore.generate_key().secret != keystore.generate_key().secret


def test_never_overwrites(tmp_path: Path) -> None:
    path = tmp_path / "one.pem"
    keystore.save_keystore(path, KEY, None)
    before = path.read_bytes()
    with pytest.raises(Invalid) as caught:
        keystore.save_keystore(path, keystore.generate_key(), None)
    assert caught.value.code == "keystore_exists"
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Unavailable) as caught:
        keystore.save_keystore(tmp_path / "file" / "one.pem", KEY, None)
    assert caught.value.code == "keystore_unwritable"


def test_ecdsa_reads_the_plain_file(tmp_path: Path) -> None:
    keystore.save_keystore(tmp_path / "one.pem", KEY, None)
    signer = ecdsa.SigningKey.from_pem((tmp_path / "one.pem").read_text())
    assert signer.to_string() == KEY.secret
    assert signer.verifying_key.to_string("compressed") == KEY.public_key


def test_cryptography_reads_the_encrypted_file(tmp_path: Path) -> None:
    keystore.save_keystore(tmp_path / "one.pem", KEY, PASSPHRASE)
    pem = (tmp_path / "one.pem").read_bytes()
    private = serialization.load_pem_private_key(pem, PASSPHRASE.encode())
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    assert private.private_numbers().private_value == int.from_bytes(KEY.secret, "big")
    assert KEY.secret not in base64.b64decode(b"".join(pem.split(b"\n")[1:-2]))


def test_reads_what_cryptography_wrote(tmp_path: Path) -> None:
    private = ec.derive_private_key(int.from_bytes(KEY.secret, "big"), ec.SECP256K1())
    encryption = serialization.BestAvailableEncryption(PASSPHRASE.encode())
    path = write(tmp_path, pem_of(private, encryption))
    assert keystore.load_keystore(path, PASSPHRASE) == KEY
    path = write(tmp_path, pem_of(private, serialization.NoEncryption()))
    assert keystore.load_keystore(path, None) == KEY


def test_public_pem_is_the_same_key_to_ecdsa() -> None:
    verifier = ecdsa.VerifyingKey.from_pem(keystore.export_public_pem(KEY))
    assert verifier.to_string("compressed") == KEY.public_key


def test_passphrase_missing_and_wrong(tmp_path: Path) -> None:
    path = tmp_path / "one.pem"
    keystore.save_keystore(path, KEY, PASSPHRASE)
    assert refused(path, None) == "passphrase_required"
    assert refused(path, "") == "passphrase_required"
    assert refused(path, PASSPHRASE + "x") == "passphrase_wrong"


def test_a_wrong_passphrase_that_fits_the_padding_is_still_just_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One in 256 does; the file must not be called broken for it."""
    monkeypatch.setattr(keystore, "PBKDF2_ROUNDS", 1)
    sealed = keystore.encrypt_pem(KEY, PASSPHRASE)
    codes = set()
    for number in range(2000):
        with pytest.raises(Invalid) as caught:
            keystore.decrypt_pem(sealed, f"wrong {number}")
        codes.add(caught.value.code)
    assert codes == {"passphrase_wrong"}


@pytest.mark.parametrize("rounds", [0, keystore.PBKDF2_ROUNDS_MAX + 1, 2**31, 2**62, 2**2000])
def test_a_file_that_asks_for_endless_work_is_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int
) -> None:
    """A file from somebody else must not hold up for hours whoever opens it."""
    with monkeypatch.context() as patch:
        patch.setattr(keystore, "PBKDF2_ROUNDS", rounds)
        patch.setattr(keystore.hashlib, "pbkdf2_hmac", lambda *_: bytes(32))
        keystore.save_keystore(tmp_path / "one.pem", KEY, PASSPHRASE)
    assert refused(tmp_path / "one.pem", PASSPHRASE) == "keystore_malformed"


def test_other_derivations_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What bounds their work is not known here; scrypt asks for memory besides."""
    monkeypatch.setattr(keystore, "_OID_PBKDF2", (1, 3, 6, 1, 4, 1, 11591, 4, 11))
    sealed = keystore.encrypt_pem(KEY, PASSPHRASE)
    monkeypatch.undo()
    with pytest.raises(Invalid, match=r"keystore_malformed.*PBKDF2"):
        keystore.decrypt_pem(sealed, PASSPHRASE)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o777])
def test_too_open_mode_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "one.pem"
    keystore.save_keystore(path, KEY, None)
    path.chmod(mode)
    with pytest.raises(Invalid, match=r"chmod 600 .*one\.pem") as caught:
        keystore.load_keystore(path, None)
    assert caught.value.code == "keystore_mode"


@pytest.mark.parametrize("encrypted", [False, True])
def test_wrong_curve(tmp_path: Path, encrypted: bool) -> None:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if encrypted:
        encryption = serialization.BestAvailableEncryption(PASSPHRASE.encode())
    path = write(tmp_path, pem_of(ec.generate_private_key(ec.SECP256R1()), encryption))
    assert refused(path, PASSPHRASE) == "curve_wrong"
    path = write(tmp_path, pem_of(ed25519.Ed25519PrivateKey.generate(), encryption))
    assert refused(path, PASSPHRASE) == "curve_wrong"


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_curve_that_nobody_here_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypted: bool
) -> None:
    monkeypatch.setattr(keystore, "PBKDF2_ROUNDS", 1)
    strange = der.encode_oid(1, 3, 132, 0, 32)
    known = der.encode_oid(1, 3, 132, 0, 10)
    if encrypted:
        described = keystore._private_key_info
        monkeypatch.setattr(
            keystore, "_private_key_info", lambda key: described(key).replace(known, strange)
        )
        pem = keystore.encrypt_pem(KEY, PASSPHRASE)
    else:
        plain = der.unpem(keystore.encode_pem(KEY))
        pem = der.topem(plain.replace(known, strange), "PRIVATE KEY")
    assert refused(write(tmp_path, pem), PASSPHRASE) == "curve_wrong"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"\xff\xfe\x00",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n\xff\xff\n-----END PRIVATE KEY-----\n",
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n",
        b"-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n",
        b"-----BEGIN PRIVATE KEY-----\n" + b"A" * keystore.KEYSTORE_BYTES_MAX,
    ],
)
def test_malformed_files(tmp_path: Path, data: bytes) -> None:
    assert refused(write(tmp_path, data), PASSPHRASE) == "keystore_malformed"


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    pem = keystore.encode_pem(KEY)
    for length in range(0, len(pem) - 1, 7):
        assert refused(write(tmp_path, pem[:length]), None) == "keystore_malformed"


def test_no_flipped_bit_makes_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Either form holds the public key, too; money sent to a damaged key's address would be lost
    with the next repair."""
    monkeypatch.setattr(keystore, "PBKDF2_ROUNDS", 1)
    for pem, name in (
        (keystore.encode_pem(KEY), "PRIVATE KEY"),
        (keystore.encrypt_pem(KEY, PASSPHRASE), "ENCRYPTED PRIVATE KEY"),
    ):
        inside = der.unpem(pem)
        for bit in range(8 * len(inside)):
            flipped = bytearray(inside)
            flipped[bit // 8] ^= 1 << bit % 8
            with contextlib.suppress(Invalid):
                assert open_pem(der.topem(bytes(flipped), name)) == KEY


def test_every_cut_of_what_is_inside_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the parsers below raise of it."""
    monkeypatch.setattr(keystore, "PBKDF2_ROUNDS", 1)
    for pem, name in (
        (keystore.encode_pem(KEY), "PRIVATE KEY"),
        (keystore.encrypt_pem(KEY, PASSPHRASE), "ENCRYPTED PRIVATE KEY"),
    ):
        inside = der.unpem(pem)
        for start, end in itertools.combinations(range(len(inside)), 2):
            cut = der.topem(inside[:start] + inside[end:], name)
            with pytest.raises(Invalid):
                open_pem(cut)


def test_a_derivation_without_parameters() -> None:
    derivation = der.encode_sequence(der.encode_oid(*keystore._OID_PBKDF2), der.encode_sequence())
    scheme = der.encode_oid(*keystore._OID_PBES2)
    algorithm = der.encode_sequence(scheme, der.encode_sequence(derivation))
    with pytest.raises(Invalid, match="keystore_malformed"):
        open_pem(der.topem(der.encode_sequence(algorithm), "ENCRYPTED PRIVATE KEY"))


def open_pem(pem: bytes) -> KeyPair:
    if b"ENCRYPTED" in pem:
        return keystore.decrypt_pem(pem, PASSPHRASE)
    return keystore.decode_pem(pem)


def test_missing_file(tmp_path: Path) -> None:
    assert refused(tmp_path / "none.pem", None) == "keystore_missing"
    with pytest.raises(Unavailable) as caught:
        keystore.load_keystore(tmp_path, None)
    assert caught.value.code == "keystore_unreadable"


def pem_of(
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    encryption: serialization.KeySerializationEncryption,
) -> bytes:
    return private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )


def write(folder: Path, data: bytes) -> Path:
    path = folder / "case.pem"
    path.write_bytes(data)
    path.chmod(0o600)
    return path
