"""`aios init` and the profiles it makes: which node, which key, which token."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_aios.cli.main import hoist
from p2p_aios.cli.session import RPC_DEFAULT, open_session
from p2p_aios.cli.settings import Profile, Settings, read_settings, write_profile
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import AiosError
from p2p_aios.units import AIOS
from tests.cli.conftest import Node, Run

Keys = dict[str, KeyPair]
PROGRAM = "import sys; from p2p_aios.cli.main import main; sys.exit(main())"


def test_init_makes_a_key_and_a_profile(
    run: Run, home: Path, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIOS_TOKEN", "t" * 20)
    made = run("init", "--no-passphrase", "--json").json
    assert (made["profile"], made["key"], made["is_new"]) == ("local", "default", True)
    assert (made["rpc"], made["network"]) == (node.url, "memory")
    assert stat.S_IMODE((home / "config.toml").stat().st_mode) == 0o600
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    settings = read_settings(home)
    assert settings.profiles == {"local": Profile(node.url, "default", "t" * 20)}
    again = run("init", "other", "--rpc", "127.0.0.1:9", "--json").json
    assert (again["is_new"], again["address"]) == (False, made["address"])
    assert again["network"] is None, "the node need not run"
    assert read_settings(home).default == "other"
    assert sorted(read_settings(home).profiles) == ["local", "other"]


def test_init_encrypts_a_new_key(run: Run, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOS_PASSPHRASE", "")
    assert run("init").code == 1
    assert not (home / "config.toml").exists()
    monkeypatch.setenv("AIOS_PASSPHRASE", "pass phrase")
    assert run("init", "--rpc", "http://127.0.0.1:9").code == 0
    assert run("key", "show", "default", "--json").json["encrypted"] is True


def test_a_profile_names_node_and_key(
    run: Run, keys: Keys, node: Node, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AIOS_RPC")
    assert set(keys) == {"alice", "bob"}
    write_profile(home, "nowhere", Profile("http://127.0.0.1:9"), is_default=True)
    write_profile(home, "here", Profile(node.url, "alice"), is_default=False)
    assert run("node", "status").code == 3
    sent = run("tx", "send", "bob", "2", "--profile", "here", "--json")
    assert sent.json["state"] == "finalized"
    account = run("--profile=here", "account", "show", "bob", "--json").json
    assert account["balance"] == str(2 * AIOS)
    mine = run("--profile=here", "account", "show", "--json").json
    assert mine["address"] == format_address(keys["alice"].address)
    monkeypatch.setenv("AIOS_PROFILE", "here")
    assert run("node", "status").code == 0
    assert run("node", "status", "--rpc", "http://127.0.0.1:9").code == 3, "--rpc goes before it"
    unknown = run("node", "status", "--profile", "typo")
    assert (unknown.code, "[unknown_profile]" in unknown.err) == (1, True)
    # The key called `default` is shown as itself; only signing takes the profile's.
    assert run("key", "show", "default").code == 1


def test_a_token_is_shown_to_its_own_node_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_profile(home, "a", Profile("http://a:1", None, "secret"), is_default=True)
    assert open_session(None, False, "").token == "secret"
    assert open_session("a:1", False, "").token == "secret"
    assert open_session("http://b:1", False, "").token is None
    monkeypatch.setenv("AIOS_RPC", "http://c:1")
    assert open_session(None, False, "").token is None
    monkeypatch.setenv("AIOS_TOKEN", "given")
    assert open_session(None, False, "").token == "given"


def test_plugins_keep_the_profile(home: Path) -> None:
    write_profile(home, "a", Profile("http://a:1", "k", "secret"), is_default=False)
    write_profile(home, "b", Profile("http://b:1"), is_default=True)
    first = open_session(None, False, "a")
    again = open_session(first.rpc, True)
    assert (again.rpc, again.token, again.key) == ("http://a:1", "secret", "k")
    assert open_session(None, False, "").rpc == "http://b:1"


def test_comments_of_the_user_stay(home: Path) -> None:
    home.mkdir()
    (home / "config.toml").write_text('# mine\ndefault = "x" # stays\n[profiles.x]\nrpc = "r"\n')
    write_profile(home, "y", Profile("s"), is_default=False)
    text = (home / "config.toml").read_text()
    assert text.startswith('# mine\ndefault = "x" # stays\n')
    assert read_settings(home).profiles == {"x": Profile("r"), "y": Profile("s")}


def test_profiles_are_listed_chosen_and_forgotten(run: Run, home: Path) -> None:
    assert run("profile", "list", "--json").json == []
    write_profile(home, "a", Profile("http://a:1", "k", "secret"), is_default=False)
    write_profile(home, "b", Profile("http://b:1"), is_default=False)
    rows = run("profile", "list", "--json").json
    assert [tuple(row.values()) for row in rows] == [
        ("a", "http://a:1", "k", True, True),
        ("b", "http://b:1", None, False, False),
    ]
    assert "secret" not in run("profile", "list").out
    assert run("profile", "use", "b").code == 0
    assert open_session(None, False, "").rpc == "http://b:1"
    assert run("profile", "remove", "b").code == 0
    assert (home / "config.toml").read_text().count("b") == 0
    # Nothing is left that names it: other commands go on with the built-in default.
    assert read_settings(home) == Settings(None, {"a": Profile("http://a:1", "k", "secret")})
    assert open_session(None, False, "").rpc == RPC_DEFAULT
    for verb in ("use", "remove"):
        ran = run("profile", verb, "b", "--json")
        assert (ran.code, ran.json["error"]["code"]) == (1, "unknown_profile")


@pytest.mark.parametrize(
    "text",
    [
        "defualt = 'x'",
        "default = 3",
        "profiles = 3",
        "[profiles.x]\nprc = 'u'",
        "[profiles.x]\nrpc = 3",
        "profiles.x = 3",
        "x",
        "\udcff",
    ],
)
def test_what_is_wrong_with_the_file_is_told(run: Run, home: Path, text: str) -> None:
    home.mkdir()
    (home / "config.toml").write_bytes(text.encode(errors="surrogateescape"))
    for call in (read_settings, lambda home: write_profile(home, "y", Profile(), is_default=True)):
        with pytest.raises(AiosError, match="settings_malformed"):
            call(home)
    ran = run("key", "list", "--json")
    assert (ran.code, ran.json["error"]["code"]) == (1, "settings_malformed")


def test_hoisting_moves_the_profile() -> None:
    assert hoist(["tx", "wait", "x", "--profile", "p"]) == ["--profile", "p", "tx", "wait", "x"]
    assert hoist(["tx", "wait", "--profile=p"]) == ["--profile=p", "tx", "wait"]
    assert hoist(["--profile", "tx", "testnet", "--json"]) == [
        "--profile",
        "tx",
        "testnet",
        "--json",
    ]


@pytest.mark.parametrize(("words", "expected"), [("aios tx ", "batch"), ("aios ev", "events")])
def test_the_shell_completes(home: Path, words: str, expected: str) -> None:
    count = str(len(words.split(" ")) - 1)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=False,
        env={
            "AIOS_HOME": str(home),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "_AIOS_COMPLETE": "complete_bash",
            "COMP_WORDS": words,
            "COMP_CWORD": count,
        },
    )
    assert expected in done.stdout.split(), done.stderr
