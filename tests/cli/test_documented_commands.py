"""Every `aios` command line that the documents and the help texts show is one that there is."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from p2p_aios.cli.main import app, hoist

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "docs/guide.md", "docs/errors.md")
END = {"&&", "||", "|", ";", ">", "2>", "&"}
"""Words that end a command in a shell."""


def code_in(text: str) -> Iterator[str]:
    """Lines of shell in fenced blocks, and spans of inline code."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()
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


def fault_in(words: list[str]) -> str | None:
    """What is wrong with a command line, if anything."""
    command: Any = typer.main.get_command(app)
    context = typer.Context(command, info_name="aios")
    rest = hoist(words)
    while True:
        positional, fault = split(command, rest)
        if fault is not None:
            return fault
        if not hasattr(command, "commands"):
            return too_many(command, positional)
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
    assert faults == {}
    assert lines or name == "CHANGELOG.md"


def helps(command: Any, context: Any) -> Iterator[tuple[str, str]]:
    """Path and help text of every command."""
    yield context.command_path, command.help or ""
    for name in command.list_commands(context) if hasattr(command, "commands") else ():
        found = command.get_command(context, name)
        yield from helps(found, typer.Context(found, info_name=name, parent=context))


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
