"""`aios worker`: contribute computing power, or run the head of an operator's cluster."""

import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import trio
import typer

from compute.environment import BLAS_SETTINGS, parse_host_port, short_folder
from p2p_aios.crypto.keys import format_address, parse_address
from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import AiosError, Invalid
from p2p_aios.types.compute import JobKind
from p2p_aios.units import Hash, format_amount, parse_amount

app = typer.Typer(no_args_is_help=True, help=__doc__)
"""Registered as `aios worker` through the entry-point group `aios.commands`."""

KINDS: Final = ",".join(kind.name.lower() for kind in JobKind)

Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]
TokenFile = Annotated[Path, typer.Option("--token-file", help="The cluster's token.")]
RayFolder = Annotated[
    Path | None,
    typer.Option(
        "--ray-folder",
        help="Short private folder for Ray's sockets and logs, removed at the end; "
        "one in /tmp unless you name it.",
    ),
]


@app.command()
def head(
    address: Annotated[
        str, typer.Option(help="host:port of this machine to be joined at; not 127.0.0.1.")
    ],
    token_file: TokenFile,
    log_file: Annotated[Path, typer.Option(help="Receives Ray's output.")] = Path("ray-head.log"),
    ray_folder: RayFolder = None,
    cpus: Annotated[int, typer.Option(min=1, help="Cores that Ray may use here.")] = 1,
    as_json: Json = False,
) -> None:
    """Run the head of a Ray cluster and keep it running.

    A cluster is one trust domain: who holds its token runs code on every machine of it. The token
    is created at need; copy the file to the machines that shall join.

        aios worker head --address 192.168.1.5:6379 --token-file ray.token
    """
    from compute.head import HeadConfig, run_head

    def start() -> Callable[[], Awaitable[None]]:
        host, _ = parse_host_port(address)
        _check_host(host)
        folder = ray_folder or short_folder(token_file.absolute().parent / f"head-{address}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = HeadConfig(address, token_file, folder, log_file, cpus)

        def ready(seconds: float) -> None:
            text = f"Ray head is up at {address} after {seconds:.1f} s"
            _say(as_json, text, event="ready", address=address, seconds=round(seconds, 3))

        return lambda: run_head(config, ready)

    _run(start, as_json)


@app.command()
def join(
    address: Annotated[str, typer.Option(help="host:port of the cluster's head.")],
    token_file: TokenFile,
    key: Annotated[Path, typer.Option(help="Keystore of the contributor's account.")],
    data: Annotated[Path, typer.Option(help=".npz with x (rows × columns) and y (labels).")],
    chain_id: Annotated[str, typer.Option(help="Only chain to sign for, 64 hex digits.")],
    node_ip: Annotated[str, typer.Option(help="This machine's address in the cluster.")],
    rpc: Annotated[
        str | None, typer.Option(help="Node to register through; leave out to do it yourself.")
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="Where committed updates are kept; must outlive crashes.")
    ] = Path("worker"),
    home: Annotated[
        str | None, typer.Option(help="Validator that reaches this worker; default: of --rpc.")
    ] = None,
    capacity: Annotated[int, typer.Option(min=1, max=64, help="Jobs held at once.")] = 2,
    kinds: Annotated[str, typer.Option(help="Job kinds to run, comma-separated.")] = KINDS,
    fee_max: Annotated[str, typer.Option(help="Highest fee of one transaction, in AIOS.")] = "0.1",
    passphrase_file: Annotated[
        Path | None, typer.Option(help="First line unlocks the keystore.")
    ] = None,
    ray_folder: RayFolder = None,
    log_file: Annotated[
        Path | None, typer.Option(help="Receives Ray's output; default: FOLDER/ray.log.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Contribute computing power and local data to an operator's cluster.

    The key and the data stay in this process, outside Ray; it runs only the job kinds you allow and
    signs only what it did itself, for one chain, up to your fee limit.

        aios worker join --address 192.168.1.5:6379 --token-file ray.token --node-ip 192.168.1.7 \\
            --key me.pem --data mine.npz --rpc http://192.168.1.5:8645 --chain-id 3f0c…
    """
    # Before numpy is first imported, by the line after it.
    os.environ.update(BLAS_SETTINGS)
    from compute.agent import Policy
    from compute.registration import Offer
    from compute.worker import Notices, WorkerConfig, run_worker

    def start() -> Callable[[], Awaitable[None]]:
        parse_host_port(address)
        _check_host(node_ip)
        keys = load_keystore(key, _passphrase(passphrase_file))
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        ray = ray_folder or short_folder(folder)
        ray.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = WorkerConfig(
            ray_address=address,
            node_ip=node_ip,
            token_file=token_file,
            folder=folder,
            ray_folder=ray,
            log_file=log_file or folder / "ray.log",
            data=data,
            policy=Policy(_parse_chain_id(chain_id), parse_amount(fee_max), _parse_kinds(kinds)),
            rpc_url=rpc,
            offer=Offer(parse_address(home) if home else None, capacity),
        )
        name = format_address(keys.address)
        limit = format_amount(config.policy.fee_max)
        _say(as_json, f"contributor {name}, fees up to {limit}", event="agent", address=name)

        def joined(seconds: float) -> None:
            text = f"joined {address} after {seconds:.1f} s"
            _say(as_json, text, event="joined", address=name, seconds=round(seconds, 3))

        def registered() -> None:
            _say(as_json, "registered on the chain", event="registered", address=name)

        return lambda: run_worker(config, keys, Notices(joined, registered))

    _run(start, as_json)


def _run(start: Callable[[], Callable[[], Awaitable[None]]], as_json: bool) -> None:
    """Check the options, then work until a signal; errors become one line and exit code 1."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    try:
        trio.run(start())
    except AiosError as error:
        _fail(as_json, error)
    except BaseExceptionGroup as group:
        ours, others = group.split(AiosError)
        if others is not None or ours is None:
            raise
        _fail(as_json, _first(ours))


def _fail(as_json: bool, error: AiosError) -> NoReturn:
    if as_json:
        _say(True, "", event="error", code=error.code, message=error.message)
    else:
        print(f"error: {error.message} ({error.code})", file=sys.stderr)
    raise typer.Exit(1)


def _first(group: BaseExceptionGroup[AiosError]) -> AiosError:
    found: AiosError | BaseExceptionGroup[AiosError] = group
    while isinstance(found, BaseExceptionGroup):
        found = found.exceptions[0]
    return found


def _say(as_json: bool, text: str, **fields: Any) -> None:
    print(json.dumps(fields) if as_json else text, flush=True)


def _check_host(host: str) -> None:
    if host in ("127.0.0.1", "localhost", "0.0.0.0"):
        raise Invalid(
            "address_unjoinable",
            f"Ray rewrites {host}; use the machine's own address, or 127.0.0.2 to 127.0.0.254 "
            "for a cluster that stays on this machine",
        )


def _parse_chain_id(text: str) -> Hash:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise Invalid(
            "chain_id_malformed", f"{text!r} is not 64 hex digits; see `aios node status`"
        )
    return Hash(value)


def _parse_kinds(text: str) -> tuple[JobKind, ...]:
    names = {kind.name.lower(): kind for kind in JobKind}
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        raise Invalid("kinds_malformed", f"{text!r}: choose from {', '.join(names)}")
    return tuple(sorted({names[name] for name in wanted}))


def _passphrase(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text().splitlines()[0]
    except (OSError, IndexError):
        raise Invalid("passphrase_missing", f"{path} has no first line to unlock with") from None


if __name__ == "__main__":
    app()
