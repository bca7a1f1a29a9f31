"""What the documents and the help texts tell of commands, options, variables and keys is so."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import typer

from p2p_aios.cli.main import app, hoist
from p2p_aios.cli.nodefolder import NodeFolder, render_config
from p2p_aios.node.config import NodeConfig

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/guide.md", "docs/errors.md")
PACKAGES = ("p2p_aios", "compute", "testnet")
VARIABLE = re.compile(r"(?<![A-Z_])AIOS_[A-Z_]*[A-Z]\b")
INTERNAL = {"AIOS_TESTNET", "AIOS_TESTNET_SERVICE", "AIOS_AGENT_SOCKET", "AIOS_RAY_FOLDER"}
"""Variables by which our processes know their own children."""
END = {"&&", "||", "|", ";", ">", "2>", "&"}
"""Words that end a command in a shell."""


def code_in(text: str) -> Iterator[str]:
    """Lines of shell in fenced blocks, and spans of inline code."""
    yield from shell_in(text)
    yield from spans_in(text)


def shell_in(text: str) -> Iterator[str]:
    for block in re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S):
        yield from block.replace("\\\n", " ").splitlines()


def spans_in(text: str) -> Iterator[str]:
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S)
    yield from (span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose))


def commands_in(line: str) -> Iterator[list[str]]:
    """Arguments of each `aios` in a line of shell."""
    for found in re.finditer(r"(?:^|[\s/(])aios (?=[a-z-])", line):
        words: list[str] = []
        lexer = shlex.shlex(line[found.end() :], posix=True, punctuation_chars=";&|<>()")
        lexer.whitespace_split = True
        try:
            for word in lexer:
                if word in END or set(word) <= set(";&|<>()"):
                    break
                words.append(word)
        except ValueError:
            # An apostrophe of the prose around it.
            pass
        yield words


def fault_in(words: list[str], *, is_whole: bool = False) -> str | None:
    """What is wrong with a command line, if anything.

    is_whole: whether it is there to be typed, so that nothing may be missing.
    """
    command: Any = typer.main.get_command(app)
    context = typer.Context(command, info_name="aios")
    rest = hoist(words)
    while True:
        positional, fault = split(command, rest)
        if fault is not None:
            return fault
        if not hasattr(command, "commands"):
            lacking = missing(command, positional, rest) if is_whole else None
            return too_many(command, positional) or lacking
        if not positional:
            return None
        name = positional[0]
        found = command.get_command(context, name)
        if found is None:
            return f"no command {name!r}"
        rest = rest[rest.index(name) + 1 :]
        command, context = found, typer.Context(found, info_name=name, parent=context)


def split(command: Any, words: list[str]) -> tuple[list[str], str | None]:
    """Words that are no options of `command`, up to a subcommand's name; or an unknown option."""
    options = {o: p for p in command.params for o in (*p.opts, *p.secondary_opts) if o[0] == "-"}
    positional: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "--":
            positional.append(word)
            if hasattr(command, "commands"):
                break
            continue
        name = word.partition("=")[0]
        if name == "--help":
            continue
        if name not in options:
            return positional, f"no option {name!r}"
        if not options[name].is_flag and "=" not in word and next(rest, None) is None:
            return positional, f"no value after {name!r}"
    return positional, None


def missing(command: Any, positional: list[str], words: list[str]) -> str | None:
    """A required argument or option that the command line leaves out."""
    if "--help" in words:
        return None
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    if len(positional) < sum(argument.required for argument in arguments):
        return f"{len(positional)} of the required arguments"
    for option in command.params:
        if option.param_type_name == "option" and option.required and not option.envvar:
            given = {word.partition("=")[0] for word in words}
            if not given & set(option.opts):
                return f"no {option.opts[0]}"
    return None


def too_many(command: Any, positional: list[str]) -> str | None:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    if any(argument.nargs == -1 for argument in arguments):
        return None
    if len(positional) > sum(argument.nargs for argument in arguments):
        return f"too many arguments: {positional}"
    return None


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_documented_commands_exist(name: str) -> None:
    text = (ROOT / name).read_text()
    lines = [words for line in code_in(text) for words in commands_in(line)]
    faults = {" ".join(words): fault for words in lines if (fault := fault_in(words))}
    for line in shell_in(text):
        for words in commands_in(line):
            if fault := fault_in(words, is_whole=True):
                faults[" ".join(words)] = fault
    assert faults == {}
    assert lines or name == "CHANGELOG.md"


def helps(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    """Path and help text of every command."""
    yield context.command_path, command.help or ""
    for name in command.list_commands(context) if hasattr(command, "commands") else ():
        found = command.get_command(context, name)
        yield from helps(found, typer.Context(found, info_name=name, parent=context))


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("name", DOCUMENTS)
def test_documented_options_exist(name: str) -> None:
    """Those that stand alone in the prose, as in: `--json` makes every command print JSON."""
    root = typer.main.get_command(app)
    known = set(options_of(root, typer.Context(root, info_name="aios")))
    text = (ROOT / name).read_text()
    told = {word for span in spans_in(text) for word in span.split() if word.startswith("--")}
    assert {option.partition("=")[0] for option in told} <= known
    assert told or not name.startswith("docs/")


def options_of(command: Any, context: Any) -> Iterator[str]:
    for param in command.params:
        yield from (*param.opts, *param.secondary_opts)
    yield "--help"
    for name in command.list_commands(context) if hasattr(command, "commands") else ():
        found = command.get_command(context, name)
        yield from options_of(found, typer.Context(found, info_name=name, parent=context))


def test_variables_are_those_that_are_read() -> None:
    sources = [path for name in PACKAGES for path in (ROOT / name).rglob("*.py")]
    read = {name for path in sources for name in VARIABLE.findall(path.read_text())}
    told = {
        name for document in DOCUMENTS for name in VARIABLE.findall((ROOT / document).read_text())
    }
    assert told <= read, "nobody reads these"
    assert read - told == INTERNAL, "the guide tells of every one that people may set"


@pytest.mark.parametrize("name", ["docs/guide.md", "docs/errors.md"])
def test_documented_configuration_is_known(name: str) -> None:
    """Blocks of TOML, and keys such as `rpc.token` in the prose."""
    text = (ROOT / name).read_text()
    blocks = re.findall(r"^```toml\n(.*?)^```$", text, re.M | re.S)
    told = {path for block in blocks for path, _ in leaves(tomllib.loads(block))}
    keys = {span.partition(" = ")[0] for span in spans_in(text)}
    dotted = {tuple(key.split(".")) for key in keys if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", key)}
    told |= {path for path in dotted if path[0] in SECTIONS and path[-1] != "toml"}
    assert told - set(CONFIGURATION) == set()
    assert told


def test_every_key_of_the_configuration_is_in_a_new_node_s_file() -> None:
    """As itself or as a comment that can be taken away; the values are the defaults."""
    wanted = NodeFolder(Path("x"), Path("y"), "/ip4/127.0.0.1/tcp/1", "127.0.0.1:1", (), True)
    lines = re.sub(r"^# (?=\[|[a-z_]+ = )", "", render_config(wanted), flags=re.M)
    told = dict(leaves(tomllib.loads(lines)))
    assert set(told) == set(CONFIGURATION)
    for path, default in CONFIGURATION.items():
        if isinstance(default, bool | int):
            assert told[path] == default, path


def leaves(table: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    for name, value in table.items():
        if isinstance(value, dict):
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value


def keys_of(section: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Path of each key, and its default."""
    hints = get_type_hints(section)
    for field in fields(section):
        inner = [
            kind for kind in (hints[field.name], *get_args(hints[field.name])) if is_dataclass(kind)
        ]
        if inner:
            yield from keys_of(inner[0], (*path, field.name))
        else:
            yield (*path, field.name), field.default


CONFIGURATION = dict(keys_of(NodeConfig))
SECTIONS = {path[0] for path in CONFIGURATION}


@pytest.mark.usefixtures("plugins")
def test_examples_in_help_texts_exist() -> None:
    root = typer.main.get_command(app)
    faults, seen = {}, 0
    for path, text in helps(root, typer.Context(root, info_name="aios")):
        for line in text.replace("\\\n", " ").splitlines():
            if not line.strip().startswith("aios "):
                continue
            for words in commands_in(line):
                seen += 1
                if fault := fault_in(words):
                    faults[f"{path}: {line.strip()}"] = fault
    assert faults == {}
    assert seen > 40


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("aios tx send bob", "1 of the required arguments"),
        ("aios node init x --peer y", "no --genesis"),
        ("aios node init x --genesis=y", None),
        ("aios tx send --help", None),
        ("aios worker join --data x", None),
    ],
)
def test_the_check_sees_what_is_missing(line: str, fault: str | None) -> None:
    (words,) = commands_in(line)
    assert fault_in(words) is None
    assert fault_in(words, is_whole=True) == fault


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("aios key nwe", "no command 'nwe'"),
        ("aios frobnicate", "no command 'frobnicate'"),
        ("x=$(aios node status --jsn)", "no option '--jsn'"),
        ("aios learn base --layers", "no value after '--layers'"),
        ("aios tx wait a b", "too many arguments: ['a', 'b']"),
        ("aios worker join --frob 3", "no option '--frob'"),
        ("aios --rpc http://x tx send bob 3 --json && ls -x", None),
        ("aios job submit aggregate a b c --base d | cat --frob", None),
        ("cd x && .venv/bin/aios verify round --task ID --round=3", None),
    ],
)
def test_the_check_sees(line: str, fault: str | None) -> None:
    (words,) = commands_in(line)
    assert fault_in(words) == fault
