"""The tree stays tidy: sizes, names, and what the sans-I/O core must not contain (STYLE rules).

Imports between layers are import-linter's (`tests/test_layers.py`); this reads the source itself.
"""

import ast
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ARCHITECTURE = ROOT / "ARCHITECTURE.md"
PACKAGES = ("p2p_aios", "compute", "testnet")
MODULE_LINES_MAX = 500
MODULE_LINES_NOTED = 300
FUNCTION_LINES_MAX = 70
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}
CORE = (
    *("errors.py", "units.py", "params.py", "codec", "types", "trie", "ledger"),
    *("consensus", "mempool", "sync"),
)
UNDETERMINED = {"float", "hash", "id", "input", "open", "print", "eval", "exec", "__import__"}
"""Built-ins whose result depends on the machine or the moment, or that reach outside."""
TEXT_SUFFIXES = {
    *(".py", ".toml", ".md", ".cfg", ".ini", ".sh", ".html", ".js", ".css", ".json", ".yml"),
    *(".yaml", ".txt", ".c", ".rs", ".ts", ""),
}
SKIPPED_FOLDERS = {"build", "dist", "node_modules", "__pycache__"}
ENTRY_POINTS = "aios.commands"
"""A dotted name that is no module."""
CODE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def python_files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), shown(path))


def core_files() -> list[Path]:
    base = ROOT / "p2p_aios"
    files = [base / name for name in CORE if name.endswith(".py")]
    return files + python_files(*(f"p2p_aios/{name}" for name in CORE if "." not in name))


def text_files(folder: Path = ROOT) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            if path.name not in SKIPPED_FOLDERS and (path.name[0] != "." or path.name == ".ci"):
                yield from text_files(path)
        elif path.suffix in TEXT_SUFFIXES and path.name != "uv.lock" and path.is_file():
            yield path


def fail_with(problems: list[str]) -> None:
    assert not problems, "\n" + "\n".join(problems)


def test_there_is_something_to_look_at() -> None:
    assert len(python_files(*PACKAGES)) > 50
    assert len(core_files()) > 20


def test_modules_are_short() -> None:
    lengths = {
        path: len(path.read_text().splitlines()) for path in python_files(*PACKAGES, "tests")
    }
    noted = [f"{shown(path)} ({n})" for path, n in lengths.items() if n > MODULE_LINES_NOTED]
    if noted:
        warnings.warn(f"over {MODULE_LINES_NOTED} lines: {', '.join(noted)}", stacklevel=1)
    fail_with(
        [
            f"{shown(path)} has {length} lines; split it by noun at {MODULE_LINES_MAX}"
            for path, length in lengths.items()
            if length > MODULE_LINES_MAX
        ]
    )


def test_functions_are_short() -> None:
    problems = []
    for path in python_files(*PACKAGES, "tests"):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > FUNCTION_LINES_MAX:
                    problems.append(f"{shown(path)}:{node.lineno} {node.name} has {length} lines")
    fail_with(problems)


def test_no_module_has_a_vague_name() -> None:
    fail_with(
        [
            f"{shown(path)}: name it by what it holds"
            for path in python_files(*PACKAGES, "tests")
            for part in path.relative_to(ROOT).with_suffix("").parts
            if part in VAGUE_NAMES or part.rpartition("_")[2] in VAGUE_NAMES
        ]
    )


def test_every_module_says_what_it_is() -> None:
    fail_with(
        [
            f"{shown(path)} has no docstring"
            for path in python_files(*PACKAGES)
            if not ast.get_docstring(tree(path))
        ]
    )


def core_problem(node: ast.AST) -> str | None:
    """What is wrong with one node of the core's source, if anything."""
    match node:
        case ast.AsyncFunctionDef() | ast.Await() | ast.AsyncFor() | ast.AsyncWith():
            return "async: the core is called, it never waits"
        case ast.Constant(value=float() | complex()):
            return "a float: what validators agree on is integers and bytes"
        case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
            return "true division: use // and name the rounding"
        case ast.Call(func=ast.Name(id=name)) if name in UNDETERMINED:
            return f"{name}() is not determined by its arguments, or reaches outside"
        case ast.For(iter=iterated) | ast.comprehension(iter=iterated) if is_set(iterated):
            return "iteration over a set: its order differs between processes; sort it"
    return None


def is_set(node: ast.expr) -> bool:
    is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return isinstance(node, ast.Set | ast.SetComp) or (
        is_call and node.func.id in {"set", "frozenset"}  # type: ignore[attr-defined]
    )


def test_the_core_is_determined() -> None:
    problems = []
    for path in core_files():
        for node in ast.walk(tree(path)):
            if (problem := core_problem(node)) is not None:
                line = getattr(node, "lineno", 0)
                problems.append(f"{shown(path)}:{line} {problem}")
    fail_with(problems)


@pytest.mark.parametrize(
    "source",
    [
        "async def f(): pass",
        "x = 0.5",
        "x = 1 / 2",
        "x /= 2",
        "x = hash(y)",
        "for x in {1, 2}: pass",
        "y = [x for x in set(z)]",
        "open('file')",
    ],
)
def test_the_core_check_sees(source: str) -> None:
    assert any(core_problem(node) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize("source", ["x = 1 // 2", "for x in sorted({1}): pass", "x.hash(1)"])
def test_the_core_check_lets_pass(source: str) -> None:
    assert not any(core_problem(node) for node in ast.walk(ast.parse(source)))


def test_the_map_names_what_there_is() -> None:
    """Dotted names in ARCHITECTURE.md are modules, or something a module defines."""
    named = re.findall(r"`([a-z_]+(?:\.[a-zA-Z_]+)+)`", ARCHITECTURE.read_text())
    assert len(named) > 30
    fail_with([f"ARCHITECTURE.md: there is no {name}" for name in named if not is_there(name)])


def test_each_equation_that_is_built_has_a_test_that_names_it() -> None:
    row = re.compile(r"^\|.*eq\. \((\d+)\).*\|.*\|(.*)\|$", re.MULTILINE)
    rows = row.findall(ARCHITECTURE.read_text())
    assert {int(number) for number, _ in rows} == set(range(1, 11))
    sources = "\n".join(path.read_text() for path in python_files("tests"))
    fail_with(
        [
            f"eq. ({number}) is in the map, but no test is called test_eq_{number}_…"
            for number, module in rows
            if not module.strip().startswith("not yet")
            and not re.search(rf"def test_eq(uation)?_{number}_", sources)
        ]
    )


def is_there(name: str) -> bool:
    parts = name.split(".")
    for base in (ROOT, *(ROOT / package for package in PACKAGES)):
        if base.joinpath(*parts).is_dir() or base.joinpath(*parts).with_suffix(".py").is_file():
            return True
        module = base.joinpath(*parts[:-1]).with_suffix(".py")
        if module.is_file() and re.search(rf"\b{parts[-1]}\b", module.read_text()):
            return True
    return name == ENTRY_POINTS


def test_error_codes_are_snake_case() -> None:
    problems = []
    for path in python_files(*PACKAGES):
        for node in ast.walk(tree(path)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id not in {"Invalid", "Unavailable", "Corrupt"} or not node.args:
                continue
            code = node.args[0]
            if isinstance(code, ast.Constant) and not CODE.fullmatch(str(code.value)):
                problems.append(f"{shown(path)}:{node.lineno} {code.value!r} is no snake_case code")
            elif isinstance(code, ast.Constant) and str(code.value).endswith("_unknown"):
                problems.append(f"{shown(path)}:{node.lineno} {code.value!r}: say unknown_…")
    fail_with(problems)


def test_nothing_is_left_for_later() -> None:
    # Spelled apart, so that this file does not find itself.
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" + "XX")) + r")\b")
    fail_with(lines_with(marks, "finish it, or open an issue"))


def test_no_stubs() -> None:
    problems = []
    for path in python_files(*PACKAGES):
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.Name) and node.id == "NotImplementedError":
                problems.append(f"{shown(path)}:{node.lineno} something is not built")
    fail_with(problems)


def test_no_paths_or_hosts_of_the_machine_it_was_built_on() -> None:
    foreign = (
        "/wo" + "rk/",
        "/ro" + "ot/",
        "/ho" + "me/",
        "pythonhos" + "ted.org",
        "pypi" + ".org",
    )
    fail_with(lines_with(re.compile("|".join(map(re.escape, foreign))), "means nothing elsewhere"))


def lines_with(pattern: re.Pattern[str], why: str) -> list[str]:
    return [
        f"{shown(path)}:{number} {line.strip()[:60]!r}: {why}"
        for path in text_files()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if pattern.search(line)
    ]
