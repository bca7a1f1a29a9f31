"""What `aios doctor` looks at on this machine. Each check tells what it found and what to do."""

import ctypes
import os
import re
import resource
import shutil
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

from p2p_aios.crypto.keystore import is_encrypted, load_keystore
from p2p_aios.errors import Invalid

FREE_BYTES_LEAST: Final = 256 << 20
"""Less room than this, and a node stops soon."""
FREE_BYTES_GOOD: Final = 4 << 30
FILES_LEAST: Final = 1024
"""Open files that a node with all its peers and clients needs."""
DIAL_S_MAX: Final = 2.0
COMPILERS: Final = ("cc", "gcc", "clang")
DISTRIBUTION: Final = "p2p-aios"
RAY_PROCESSES: Final = ("gcs_server", "raylet")
_PIN: Final = re.compile(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^;\s]+)$")
_TIME_ERROR: Final = 5
"""What adjtimex answers where nothing keeps the clock right (Linux, timex.h)."""


@dataclass(frozen=True, slots=True)
class Finding:
    subject: str
    state: str
    """`ok`; `warning`: works, but for how long; `fault`: something does not work."""
    detail: str
    remedy: str | None = None
    """What to do; None where all is well."""


def check_packages(distribution: str = DISTRIBUTION) -> Iterator[Finding]:
    """Python, and the libraries whose exact versions AIOS was tested with, Ray before all."""
    python = ".".join(map(str, sys.version_info[:3]))
    try:
        pins = dict(filter(None, map(_pin, metadata.requires(distribution) or ())))
    except metadata.PackageNotFoundError:
        yield Finding("packages", "fault", "AIOS is not installed", "uv pip install -e .")
        return
    found = {name: _version(name) for name in pins}
    wrong = [
        f"{name} {found[name] or 'missing'}, not {pins[name]}"
        for name in sorted(pins)
        if found[name] != pins[name]
    ]
    detail = f"Python {python}, Ray {_version('ray')}, {len(pins)} packages as pinned"
    if not wrong:
        yield Finding("packages", "ok", detail)
        return
    is_fault = any(found[name] is None for name in pins)
    remedy = "reinstall: uv sync, or uv pip install -e ."
    yield Finding("packages", "fault" if is_fault else "warning", "; ".join(wrong), remedy)


def check_disk(folder: Path) -> Finding:
    """Room where keys, chain and blobs go."""
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    detail = f"{free / (1 << 30):.1f} GiB free at {folder}"
    if free >= FREE_BYTES_GOOD:
        return Finding("disk", "ok", detail)
    remedy = "make room, or put `data` on another disk; lower store.keep_blocks or blob_quota_bytes"
    return Finding("disk", "fault" if free < FREE_BYTES_LEAST else "warning", detail, remedy)


def check_files() -> Finding:
    """How many files and connections a process may have open."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = f"{limit} open files a process"
    if limit == resource.RLIM_INFINITY or limit >= FILES_LEAST:
        return Finding("files", "ok", detail)
    return Finding("files", "warning", detail, f"ulimit -n {4 * FILES_LEAST}")


def check_clock() -> Iterator[Finding]:
    """Whether something keeps the clock right: a block is refused when clocks differ by 250 ms."""
    adjust = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjust is None:
        return
    # `modes` = 0: nothing is changed. The structure has 208 bytes on 64-bit Linux.
    state = adjust(ctypes.create_string_buffer(512))
    if state == _TIME_ERROR:
        yield Finding(
            "clock",
            "warning",
            "nothing keeps this machine's clock right",
            "start chrony, systemd-timesyncd or ntpd; validators need it",
        )
    elif state >= 0:
        yield Finding("clock", "ok", "synchronized")


def check_port(name: str, host: str, port: int) -> Finding:
    """Whether a node could listen there."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    place = f"{name} port {port} at {host}"
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(1)
    except OSError as error:
        remedy = f"choose another {name} port in node.toml, or stop what uses this one"
        return Finding("ports", "fault", f"{place}: {error.strerror}", remedy)
    return Finding("ports", "ok", f"{place} is free")


def check_dial(subject: str, host: str, port: int, remedy: str) -> Finding:
    """Whether somebody listens there."""
    place = f"{host}:{port}"
    try:
        socket.create_connection((host, port), DIAL_S_MAX).close()
    except OSError as error:
        why = error.strerror or "no answer in time"
        return Finding(subject, "warning", f"{place} cannot be reached: {why}", remedy)
    return Finding(subject, "ok", f"{place} answers")


def check_ray_head(address: str, token_file: Path | None) -> Iterator[Finding]:
    """The head of the cluster that is to be joined, `host:port`, and the token to join it."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        yield Finding("ray head", "fault", f"{address!r} is no HOST:PORT", "mend its address")
        return
    remedy = "start it: aios worker head, or aios testnet up; is it the right address?"
    yield check_dial("ray head", host, int(port), remedy)
    if token_file is None or not os.access(token_file, os.R_OK):
        detail = "no token to join it" if token_file is None else f"{token_file} cannot be read"
        remedy = "copy the file that aios worker head has made; AIOS_RAY_TOKEN_FILE names it"
        yield Finding("ray head", "fault", detail, remedy)


def check_compiler() -> Finding:
    """Needed for packages without a wheel for this machine, and for contracts in C."""
    found = next((path for name in COMPILERS if (path := shutil.which(name))), None)
    if found:
        return Finding("compiler", "ok", found)
    remedy = "only where a package must be built: apt-get install gcc, or xcode-select --install"
    return Finding("compiler", "warning", "no C compiler", remedy)


def check_keys(folder: Path) -> Iterator[Finding]:
    """Whether others can read the user's keys, and whether they are encrypted."""
    keys = sorted(folder.glob("*.pem")) if folder.is_dir() else []
    if not keys:
        yield Finding("keys", "warning", f"no key in {folder}", "aios init, or aios key new")
    for key in keys:
        if stat.S_IMODE(key.stat().st_mode) & 0o077:
            mode = stat.S_IMODE(key.stat().st_mode)
            yield Finding("keys", "fault", f"{key} has mode {mode:o}", f"chmod 600 {key}")
        elif not key.with_suffix(".pub").exists():
            remedy = f"aios key export-public {key.stem}"
            yield Finding("keys", "warning", f"{key} has no public half beside it", remedy)
        else:
            yield _check_encryption(key)


def _check_encryption(key: Path) -> Finding:
    try:
        if is_encrypted(key):
            return Finding("keys", "ok", f"{key.stem}: encrypted, for you alone")
        load_keystore(key, None)
    except Invalid as fault:
        return Finding("keys", "fault", f"{key}: {fault.message}", "restore it from a backup")
    remedy = "use it for test coins only; `aios key new` encrypts"
    return Finding("keys", "warning", f"{key.stem}: not encrypted", remedy)


def check_leftovers(processes: Path = Path("/proc")) -> Iterator[Finding]:
    """Ray processes of ours whose launcher is gone: kill -9 of a Ray head leaves them."""
    orphans = [found for folder in processes.glob("[0-9]*") if (found := _orphan(folder))]
    for pid, name in sorted(orphans):
        detail = f"{name} (process {pid}) has lost its launcher"
        yield Finding(
            "leftovers", "warning", detail, f"if no testnet or worker of yours: kill {pid}"
        )
    if not orphans:
        yield Finding("leftovers", "ok", "no orphaned Ray process")


def _orphan(folder: Path) -> tuple[int, str] | None:
    try:
        if folder.stat().st_uid != os.getuid():
            return None
        status = (folder / "status").read_text()
        program = (folder / "cmdline").read_bytes().partition(b"\0")[0].decode(errors="replace")
    except OSError:
        # It has ended meanwhile.
        return None
    name = Path(program).name
    is_orphan = re.search(r"^PPid:\s+1$", status, re.M) is not None
    return (int(folder.name), name) if is_orphan and name in RAY_PROCESSES else None


def _pin(requirement: str) -> tuple[str, str] | None:
    found = _PIN.match(requirement)
    return (found[1], found[2]) if found else None


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
