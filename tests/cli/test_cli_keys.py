"""`aios key`, and what the command line says when it is used wrongly."""

import os
import stat
from pathlib import Path

import ecdsa
import pytest

from p2p_aios.cli.main import hoist
from p2p_aios.crypto.keys import format_address, parse_address
from p2p_aios.crypto.keystore import generate_key, load_keystore, save_keystore
from tests.cli.conftest import Run

PASSPHRASE = "pass phrase"


def test_new_key_is_encrypted_and_private(
    run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOS_PASSPHRASE", PASSPHRASE)
    made = run("key", "new", "alice", "--json").json
    path = home / "keys" / "alice.pem"
    assert made["file"] == str(path)
    key = load_keystore(path, PASSPHRASE)
    assert made["address"] == format_address(key.address)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    # Everything but signing works without the passphrase.
    monkeypatch.delenv("AIOS_PASSPHRASE")
    shown = run("key", "show", "alice", "--json").json
    assert (shown["address"], shown["encrypted"]) == (made["address"], True)
    assert parse_address(run("--json", "key", "list").json[0]["address"]) == key.address
    pem = run("key", "export-public", "alice").out
    assert ecdsa.VerifyingKey.from_pem(pem).to_string("compressed") == key.public_key


def test_passphrase_file(
    run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSPHRASE}\nsecond line\n")
    new = ("key", "new", "alice", "--passphrase-file", str(secret))
    secret.chmod(0o640)
    exposed = run(*new)
    assert (exposed.code, "chmod 600" in exposed.err) == (1, True)
    assert run(*new, "--json").json["error"]["code"] == "passphrase_file_mode"
    secret.chmod(0o600)
    assert run(*new).code == 0
    assert load_keystore(home / "keys" / "alice.pem", PASSPHRASE)
    missing = run("key", "new", "bob", "--passphrase-file", str(tmp_path / "none"))
    assert (missing.code, "[passphrase_file_unreadable]" in missing.err) == (1, True)
    monkeypatch.setenv("AIOS_PASSPHRASE_FILE", str(secret))
    monkeypatch.setenv("AIOS_PASSPHRASE", "not this one: the file goes before it")
    assert run("key", "new", "carol").code == 0
    assert load_keystore(home / "keys" / "carol.pem", PASSPHRASE)


def test_passphrase_from_a_pipe(run: Run, home: Path) -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, f"{PASSPHRASE}\n".encode())
        os.close(writer)
        place = f"/dev/fd/{reader}"
        assert run("key", "new", "alice", "--passphrase-file", place).code == 0
    finally:
        os.close(reader)
    assert load_keystore(home / "keys" / "alice.pem", PASSPHRASE)


def test_import(run: Run, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, sealed = tmp_path / "plain.pem", tmp_path / "sealed.pem"
    key = generate_key()
    save_keystore(plain, key, None)
    save_keystore(sealed, key, PASSPHRASE)
    assert "[passphrase_required]" in run("key", "import", "a", str(plain)).err
    monkeypatch.setenv("AIOS_PASSPHRASE", PASSPHRASE)
    for name, source in (("a", plain), ("b", sealed)):
        made = run("key", "import", name, str(source), "--json").json
        assert made["address"] == format_address(key.address)
        assert load_keystore(home / "keys" / f"{name}.pem", PASSPHRASE) == key
        assert run("key", "show", name, "--json").json["address"] == made["address"]
    assert run("key", "import", "c", str(plain), "--no-passphrase").code == 0
    assert load_keystore(home / "keys" / "c.pem", None) == key
    again = run("key", "import", "c", str(plain), "--no-passphrase", "--json").json
    assert again["error"]["code"] == "keystore_exists"
    monkeypatch.setenv("AIOS_PASSPHRASE", "wrong")
    assert "[passphrase_wrong]" in run("key", "import", "d", str(sealed)).err
    assert "[keystore_missing]" in run("key", "import", "d", str(tmp_path / "none")).err


def test_test_keys_have_no_passphrase(run: Run, home: Path) -> None:
    assert run("key", "new", "test", "--no-passphrase").code == 0
    assert load_keystore(home / "keys" / "test.pem", None)
    assert "test" in run("key", "list").out


@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        (("key", "new", "a"), {}, "passphrase_required"),
        (("key", "new", "a"), {"AIOS_PASSPHRASE": ""}, "passphrase_empty"),
        (("key", "show", "nobody"), {}, "unknown_key"),
        (("key", "new", "../evil name", "--no-passphrase"), {}, None),
        (("key", "new", "evil name", "--no-passphrase"), {}, "key_name_malformed"),
    ],
)
def test_refusals(
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    code: str | None,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    ran = run(*arguments)
    if code is None:
        # A name with a slash is a path of the user's own choice.
        assert ran.code == 0
        return
    assert ran.code == 1
    assert ran.err.startswith(f"error [{code}]: ")
    assert run(*arguments, "--json").json["error"]["code"] == code


def test_never_overwrites(run: Run) -> None:
    run("key", "new", "a", "--no-passphrase")
    before = run("key", "show", "a", "--json").json
    ran = run("key", "new", "a", "--no-passphrase")
    assert (ran.code, "[keystore_exists]" in ran.err) == (1, True)
    assert run("key", "show", "a", "--json").json == before


def test_damaged_key_does_not_hide_the_others(run: Run, home: Path) -> None:
    run("key", "new", "a", "--no-passphrase")
    run("key", "new", "b", "--no-passphrase")
    (home / "keys" / "a.pub").write_text("garbage")
    rows = run("key", "list", "--json").json
    assert [row["address"] is None for row in rows] == [True, False]
    assert "[public_key_malformed]" in run("key", "show", "a").err


def test_a_lost_public_half(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOS_PASSPHRASE", PASSPHRASE)
    for name, options in (("sealed", ()), ("plain", ("--no-passphrase",))):
        made = run("key", "new", name, *options, "--json").json
        (home / "keys" / f"{name}.pub").unlink()
        shown = run("key", "show", name)
        if options:
            # The key itself tells it, without a passphrase.
            assert made["address"] in shown.out
        else:
            assert "export-public sealed" in shown.err
        assert run("key", "export-public", name).code == 0
        assert made["address"] in run("key", "show", name).out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("nonsense",), "usage", "nonsense"),
        (("tx", "send"), "usage", "ADDRESS|KEY"),
        (("tx", "send", "aios1nonsense", "1"), "address_malformed", "aios1nonsense"),
        (("tx", "send", "aios1nonsense", "1", "--frobnicate"), "usage", "--frobnicate"),
        (("tx", "show", "abc"), "id_malformed", "64 hex digits"),
        (("tx", "wait", "00" * 32, "--timeout", "soon"), "usage", "--timeout"),
        (("account", "show", "aios1nonsense"), "address_malformed", "aios1nonsense"),
        (("block", "show", "high"), "id_malformed", "high"),
        (("block", "follow", "--count", "0"), "usage", "--count"),
        (("job", "submit", "mine"), "usage", "mine"),
        (("job", "submit", "train", "base.bin"), "usage", "--layers"),
        (("job", "submit", "train", "--layers", "4,x"), "layers_malformed", "4,x"),
        (("job", "submit", "train", "--layers", "4"), "layers_malformed", "4"),
        (("job", "submit", "train", "--layers", "4,2"), "usage", "BASE"),
        (("job", "submit", "evaluate", "--task", "abc"), "id_malformed", "abc"),
        (("blob", "get", "bad"), "cid_malformed", "bad"),
    ],
)
def test_usage_errors_say_what_to_do(
    run: Run, arguments: tuple[str, ...], code: str, text: str
) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert "Usage: aios" in ran.err
    assert f"error [{code}]" in ran.err
    assert text in ran.err
    assert "Traceback" not in ran.err
    error = run("--json", *arguments)
    assert error.code == 2
    assert error.json["error"]["code"] == code


@pytest.mark.parametrize("group", [(), ("key",), ("job", "submit")])
def test_no_command_at_all_shows_the_help(run: Run, group: tuple[str, ...]) -> None:
    ran = run(*group)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("Usage: aios")
    assert ran.err.count("Usage:") == 1
    assert "error [" not in ran.err
    error = run(*group, "--json")
    assert (error.code, error.json["error"]["code"]) == (2, "usage")


@pytest.mark.usefixtures("plugins")
def test_a_typo_is_answered_with_a_guess(run: Run) -> None:
    assert "Did you mean 'send'? See" in run("tx", "sedn").err


def test_amount_must_be_one(run: Run, keys: object) -> None:
    assert keys
    for amount in ("1x", "-1", "0.000000001", "999999999999999"):
        ran = run("--json", "tx", "send", "bob", "--", amount)
        assert (ran.code, ran.json["error"]["code"]) == (2, "amount_malformed")


@pytest.mark.usefixtures("plugins")
def test_every_help_teaches_by_example(run: Run) -> None:
    for group, commands in {
        "key": ("new", "import", "list", "show", "export-public"),
        "profile": ("list", "use", "remove"),
        "node": ("run", "init", "genesis", "address", "status", "peers"),
        "tx": ("send", "batch", "show", "wait", "decode"),
        "account": ("show", "supply"),
        "block": ("show", "follow"),
        "events": ("follow",),
        "db": ("check", "compact"),
        "job": ("show", "wait", "output", "list"),
        "job submit": ("evaluate", "train", "aggregate"),
        "learn": ("example", "submit", "show", "list", "rounds", "follow", "base", "shard"),
        "blob": ("put", "get", "show"),
        "worker": ("list", "retire", "join", "head"),
    }.items():
        listed = run(*group.split(), "--help")
        assert listed.code == 0
        for command in commands:
            assert command in listed.out
            shown = run(*group.split(), command, "--help")
            assert shown.code == 0
            # Once as usage, once at least as an example.
            assert shown.out.count(f"aios {group} {command}") > 1
    assert all(group in run("--help").out for group in ("key", "learn", "worker"))


def test_version(run: Run) -> None:
    assert run("--version").out.strip().count(".") == 2


def test_global_options_may_stand_anywhere() -> None:
    moved = hoist(["tx", "show", "--json", "00", "--rpc", "http://x", "--rpc=http://y"])
    assert moved == ["--json", "--rpc", "http://x", "--rpc=http://y", "tx", "show", "00"]
    assert hoist(["tx", "show", "--", "--json"]) == ["tx", "show", "--", "--json"]
    assert hoist(["testnet", "demo", "--json"]) == ["testnet", "demo", "--json"]
    assert hoist(["testnet", "logs", "node", "--json"]) == ["testnet", "logs", "node", "--json"]
    assert hoist(["worker", "join", "--json"]) == ["--json", "worker", "join"]
    assert hoist(["--rpc", "tx", "testnet", "--rpc"]) == ["--rpc", "tx", "testnet", "--rpc"]
    assert hoist(["tx", "show", "--rpc"]) == ["--rpc", "tx", "show"]
