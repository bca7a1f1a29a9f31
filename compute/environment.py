"""What the processes of a Ray cluster share: environment variables, folders, waiting for a port."""

import hashlib
import os
import secrets
import socket
import stat
from collections.abc import MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from p2p_aios.errors import Invalid, Unavailable

NAMESPACE: Final = "aios"
"""Ray namespace of every driver and actor of ours."""
AGENT_SOCKET: Final = "AIOS_AGENT_SOCKET"
"""Environment variable by which a contributor's actor finds its agent."""
TEMPORARY_FOLDER: Final = "AIOS_RAY_FOLDER"
"""Environment variable that marks every process of one `ray start`, for finding leftovers."""
CONTRIBUTOR_LABEL: Final = "aios.io/contributor"
"""Ray label that names the contributor whose machine a raylet is."""
ACTOR_PREFIX: Final = "contributor:"
RAY_SETTINGS: Final = {
    "RAY_AUTH_MODE": "token",
    # Ray otherwise packs the working folder and starts each worker through uv: 11 s, or never.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "5",
    "RAY_enable_metrics_collection": "0",
    # Our actors are all there is to run: workers kept in store would only cost a start.
    "RAY_prestart_worker_first_driver": "0",
    "RAY_enable_worker_prestart": "0",
}
BLAS_SETTINGS: Final = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""Several BLAS threads on a loaded machine are many times slower than one."""
SECRET_VARIABLES: Final = ("AIOS_PASSPHRASE", "AIOS_TOKEN")
"""What opens keys and nodes: every member of a cluster can read the environment of its workers."""
_TOKEN_BYTES: Final = 32
RAY_SUBFOLDER: Final = "r"
"""Ray's part of a folder of ours. Ray opens its own to everybody; ours stays private."""
_CLAIM: Final = "deleted-at-the-end"
"""Marks a folder that is ours to delete."""


def actor_name(contributor: str) -> str:
    """Ray name of a contributor's actor; `contributor` is its address in text form."""
    return ACTOR_PREFIX + contributor


def resource_of(contributor: str) -> str:
    """Custom Ray resource that only this contributor's machine has."""
    return f"aios:{contributor}"


def set_environment(variables: MutableMapping[str, str], token_file: Path) -> None:
    """Settings for a process that imports ray or numpy later, and for its children."""
    variables.update(RAY_SETTINGS | BLAS_SETTINGS)
    variables["RAY_AUTH_TOKEN_PATH"] = str(token_file.absolute())
    for name in ("RAY_ADDRESS", "RAY_AUTH_TOKEN", *SECRET_VARIABLES):
        variables.pop(name, None)


def check_token(path: Path) -> None:
    """Raises Unavailable(`ray_token_missing`), Invalid(`ray_token_exposed`)."""
    if not path.is_file() or not path.stat().st_size:
        raise Unavailable(
            "ray_token_missing",
            f"there is no cluster token at {path}; copy it from the head (`aios worker head`)",
        )
    if path.stat().st_mode & 0o077:
        raise Invalid(
            "ray_token_exposed",
            f"others of this machine may read {path}, and whoever does can run code on the whole"
            f" cluster: chmod 600 {path}",
        )


def ensure_token(path: Path) -> None:
    """Create a cluster token at `path`, mode 0600, unless one is there.

    Raises Invalid(`ray_token_exposed`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        # Whole or not at all: an empty one left by a crash would be taken for the cluster's.
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(secrets.token_hex(_TOKEN_BYTES))
        with suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    check_token(path)


def short_folder(folder: Path) -> Path:
    """A private folder for Ray and sockets that belongs to `folder`, created at need.

    Unix sockets have paths of at most 107 bytes and Ray nests its own deep, so it lies in /tmp and
    is named after `folder`. Raises Invalid(`folder_unsafe`) where somebody else owns it.
    """
    name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:10]
    short = Path("/tmp") / f"aios-{os.getuid()}-{name}"
    short.mkdir(mode=0o700, exist_ok=True)
    _check_private(short)
    return short


def claim_folder(folder: Path) -> None:
    """Make `folder`, or take one that is empty or was claimed before: Ray's files go there, and at
    the end all of it is deleted. Raises Invalid(`folder_unsafe`) for any other.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _check_private(folder)
    if not (folder / _CLAIM).exists() and any(folder.iterdir()):
        raise Invalid(
            "folder_unsafe",
            f"{folder} holds other files, and would be deleted at the end: name an empty folder",
        )
    (folder / _CLAIM).touch()


def _check_private(folder: Path) -> None:
    found = folder.lstat()
    if found.st_uid == os.getuid() and (folder / _CLAIM).exists():
        # As a start by an earlier version left it, when Ray's folder was still this one.
        folder.chmod(0o700)
        found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise Invalid("folder_unsafe", f"{folder} is not a private folder of yours: remove it")


def parse_host_port(address: str) -> tuple[str, int]:
    """Raises Invalid(`address_malformed`)."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise Invalid("address_malformed", f"{address!r} is not host:port, e.g. 127.0.0.2:6379")
    return host, int(port)


def is_raylet_up(folder: Path) -> bool:
    """Whether a raylet accepts drivers in this Ray folder."""
    sockets = (folder / RAY_SUBFOLDER).glob("session_2*/sockets/raylet*")
    return any(map(_accepts, sockets))


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def is_listening(address: str, timeout_s: float = 1.0) -> bool:
    """Whether somebody accepts TCP connections at host:port."""
    try:
        with socket.create_connection(parse_host_port(address), timeout_s):
            return True
    except OSError:
        return False
