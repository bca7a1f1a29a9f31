"""docs/errors.md names every code of the source, and none that the source has lost."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from p2p_aios.types.block import Header
from p2p_aios.types.learning import Verdict
from p2p_aios.types.receipt import SUCCESS

ROOT = Path(__file__).parent.parent.parent
PACKAGES = ("p2p_aios", "compute", "testnet")
ERRORS = {"Invalid", "Unavailable", "Corrupt"}
CARRIERS = {
    *("void_round", "refund_job", "forfeit_bond", "RoundVoided", "JobRefunded", "UpdateRefused"),
    *("AttestationRefused", "Refused", "_blame", "_write_refusal", "_require_ballot"),
}
"""Calls that carry a code to an event, a peer or an error, at any place."""
CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
COMPOSED = {
    "{name}_wrong": {f"{name}_wrong" for name in Header.__slots__},
    "update_{verdict.name.lower()}": {
        f"update_{verdict.name.lower()}" for verdict in Verdict if verdict is not Verdict.ACCEPTED
    },
    "model_{name}": {
        f"model_{verdict.name.lower()}"
        for verdict in Verdict
        if verdict in (Verdict.MALFORMED, Verdict.MISSHAPEN, Verdict.NON_FINITE)
        or verdict in (Verdict.OUT_OF_RANGE, Verdict.OVERSIZED)
    },
}
"""Codes made of a prefix or suffix and a name, by how the source writes them."""


def codes_in(tree: ast.AST) -> Iterator[str]:
    """Codes, and f-strings that compose some as `{…}` texts."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else None
            name = node.func.id if isinstance(node.func, ast.Name) else name
            if name in ERRORS and node.args:
                yield from told_by(node.args[0])
            elif name in CARRIERS:
                for argument in node.args:
                    yield from told_by(argument)
        elif isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "code" for target in node.targets
        ):
            yield from told_by(node.value)
        elif isinstance(node, ast.Return) and isinstance(node.value, ast.JoinedStr):
            text = ast.unparse(node.value)[2:-1]
            yield from (text,) if text in COMPOSED else ()


def told_by(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(value=str() as text) if CODE.fullmatch(text):
            yield text
        case ast.JoinedStr():
            text = ast.unparse(node)[2:-1]
            yield from (text,) if " " not in text else ()
        case ast.IfExp():
            yield from told_by(node.body)
            yield from told_by(node.orelse)


@cache
def source_codes() -> frozenset[str]:
    found = {SUCCESS}
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for code in codes_in(ast.parse(path.read_text(), str(path))):
            if "{" in code:
                assert code in COMPOSED, f"{path}: say in COMPOSED what {code!r} can become"
                found |= COMPOSED[code]
            else:
                found.add(code)
    return frozenset(found)


@cache
def documented_codes() -> Counter[str]:
    rows = re.findall(r"^\|(.*?)\|.*\|.*\|$", (ROOT / "docs" / "errors.md").read_text(), re.M)
    return Counter(code for cell in rows for code in re.findall(r"`([^`]+)`", cell))


def test_every_code_is_documented() -> None:
    missing = sorted(source_codes() - set(documented_codes()))
    assert not missing, f"write into docs/errors.md what these mean: {', '.join(missing)}"


def test_no_documented_code_is_stale() -> None:
    stale = sorted(set(documented_codes()) - source_codes())
    assert not stale, f"docs/errors.md names codes that nothing uses: {', '.join(stale)}"


def test_every_code_is_documented_once() -> None:
    assert [code for code, count in documented_codes().items() if count > 1] == []


@pytest.mark.parametrize(
    ("source", "codes"),
    [
        ('raise Invalid("a_b", "text")', ["a_b"]),
        ('raise errors.Unavailable("a_b" if x else "c_d", "text")', ["a_b", "c_d"]),
        ('void_round(env, task, round, "a_b")', ["a_b"]),
        ('code = "a_b"', ["a_b"]),
        ('raise Invalid(f"{name}_wrong", "text")', ["{name}_wrong"]),
        ('def f(): return f"update_{verdict.name.lower()}"', ["update_{verdict.name.lower()}"]),
        ('text = "a_b"\nlog("c_d")\nraise Invalid(code, f"e_f")', []),
    ],
)
def test_the_search_sees(source: str, codes: list[str]) -> None:
    assert list(codes_in(ast.parse(source))) == codes
