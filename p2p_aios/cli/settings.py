"""Named places to work at: `config.toml` in $AIOS_HOME.

    default = "local"               # the profile where none is named

    [profiles.local]
    rpc = "http://127.0.0.1:8645"
    key = "alice"                   # signs where no --key is given
    token = "…"                     # bearer token of that node

What the command line or the environment says goes before the profile. Unknown keys are errors.
"""

import os
import tomllib
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final

from p2p_aios.errors import Invalid, Unavailable

FILE: Final = "config.toml"
FILE_BYTES_MAX: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Profile:
    rpc: str | None = None
    """Base URL of a node."""
    key: str | None = None
    """Name of a key, or path of a PEM file."""
    token: str | None = None
    """Bearer token of the node."""


@dataclass(frozen=True, slots=True)
class Settings:
    default: str | None
    """Name of the profile that is used where none is named."""
    profiles: dict[str, Profile]

    def find(self, name: str | None) -> Profile:
        """The profile called `name`, or the default one; raises Invalid(`unknown_profile`)."""
        name = name or self.default
        if name is None:
            return Profile()
        if name not in self.profiles:
            known = ", ".join(sorted(self.profiles)) or "none"
            raise Invalid("unknown_profile", f"no profile {name!r}; there are: {known}")
        return self.profiles[name]


def read_settings(home: Path) -> Settings:
    """Settings of the user; empty where there is no file.

    Raises Invalid(`settings_malformed`), Unavailable(`settings_unreadable`).
    """
    file = home / FILE
    try:
        with file.open("rb") as source:
            document = tomllib.loads(source.read(FILE_BYTES_MAX).decode())
    except FileNotFoundError:
        return Settings(None, {})
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise _malformed(file, str(error)) from None
    except OSError as error:
        raise Unavailable("settings_unreadable", f"cannot read {file}: {error.strerror}") from None
    default, tables = document.pop("default", None), document.pop("profiles", {})
    if document:
        raise _malformed(file, f"unknown {next(iter(document))}; known: default, profiles")
    if not isinstance(default, str | None) or not isinstance(tables, dict):
        raise _malformed(file, "default must be text, profiles a table")
    profiles = {name: _profile(file, name, table) for name, table in tables.items()}
    return Settings(default, profiles)


def write_profile(home: Path, name: str, profile: Profile, *, is_default: bool) -> Path:
    """Add or replace a profile; the file. Raises as `_edit`."""

    def change(document: Any) -> None:
        if is_default or "default" not in document:
            document["default"] = name
        tables = document.setdefault("profiles", tomlkit.table(is_super_table=True))
        tables[name] = {key: value for key, value in asdict(profile).items() if value is not None}

    import tomlkit

    return _edit(home, change)


def choose_profile(home: Path, name: str) -> Path:
    """Make `name` the one where none is named; raises as `Settings.find` and `_edit`."""
    read_settings(home).find(name)
    return _edit(home, lambda document: document.update(default=name))


def remove_profile(home: Path, name: str) -> Path:
    """Forget a profile, and that it was the default one; raises as `choose_profile`."""

    def change(document: Any) -> None:
        del document["profiles"][name]
        if document.get("default") == name:
            del document["default"]

    read_settings(home).find(name)
    return _edit(home, change)


def _edit(home: Path, change: Callable[[Any], object]) -> Path:
    """Rewrite the file at one stroke, for you alone; comments and whatever is not changed stay.

    Raises as `read_settings`, and Unavailable(`settings_unwritable`).
    """
    import tomlkit

    read_settings(home)
    file, fresh = home / FILE, home / f"{FILE}.new"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        document = tomlkit.parse(file.read_text() if file.exists() else "")
        change(document)
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as target:
            target.write(tomlkit.dumps(document))
        fresh.replace(file)
    except OSError as error:
        raise Unavailable("settings_unwritable", f"cannot write {file}: {error.strerror}") from None
    return file


def _profile(file: Path, name: str, table: Any) -> Profile:
    known = [entry.name for entry in fields(Profile)]
    if not isinstance(table, dict) or not all(isinstance(each, str) for each in table.values()):
        raise _malformed(file, f"profiles.{name} must be a table of text")
    unknown = sorted(set(table) - set(known))
    if unknown:
        raise _malformed(file, f"unknown profiles.{name}.{unknown[0]}; known: {', '.join(known)}")
    return Profile(**table)


def _malformed(file: Path, why: str) -> Invalid:
    return Invalid("settings_malformed", f"{file}: {why}")
