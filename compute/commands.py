"""`aios worker`: contribute computing power, or run the head of an operator's cluster."""

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import trio
import typer

from compute.environment import BLAS_SETTINGS, parse_host_port, short_folder
from p2p_aios.cli.arguments import KeyOption, PassphraseOption, checked, unlock
from p2p_aios.cli.display import emit_json
from p2p_aios.cli.session import current, reopen_session
from p2p_aios.crypto.keys import format_address, parse_address
from p2p_aios.errors import Invalid
from p2p_aios.types.compute import JobKind
from p2p_aios.units import format_amount, parse_amount

if TYPE_CHECKING:
    from compute.worker import WorkerConfig
    from p2p_aios.crypto.keys import KeyPair

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
"""Joins the group `aios worker` through the entry-point group `aios.commands`."""

KINDS: Final = ",".join(kind.name.lower() for kind in JobKind)

TokenFile = Annotated[
    Path,
    typer.Option(
        "--token-file",
        envvar="AIOS_RAY_TOKEN_FILE",
        help="The cluster's token; see `aios worker head`.",
    ),
]
RayFolder = Annotated[
    Path | None,
    typer.Option(
        "--ray-folder",
        help="Short private folder for Ray's sockets and logs, removed at the end; "
        "one in /tmp unless you name it.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON value a line, for programs.")]
JoinAddress = Annotated[
    str,
    typer.Option(
        "--address", metavar="HOST:PORT", envvar="AIOS_RAY_ADDRESS", help="The cluster's head."
    ),
]
DataFile = Annotated[
    Path, typer.Option("--data", help=".npz with x (rows × columns) and y (labels).")
]
RpcOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Node to register through; default: $AIOS_RPC, else port 8645 here."
    ),
]
RegisterOption = Annotated[
    bool, typer.Option("--register/--no-register", help="Offer this worker on the chain.")
]
ChainOption = Annotated[
    str | None,
    typer.Option(
        metavar="HEX", help="Only chain to sign for; default: the node's, kept in the folder."
    ),
]
NodeIpOption = Annotated[
    str | None,
    typer.Option(metavar="IP", help="This machine's address in the cluster; found at need."),
]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        help="Keeps committed updates; must outlive crashes. Default: $AIOS_HOME/workers/ADDRESS."
    ),
]
HomeOption = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", help="Validator that reaches this worker; default: --rpc's."),
]
LogFile = Annotated[
    Path | None, typer.Option(help="Receives Ray's output; default: FOLDER/ray.log.")
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

    \b
    aios worker head --address 192.168.1.5:6379 --token-file ray.token
    """
    from compute.head import HeadConfig, run_head

    reopen_session(None, as_json)
    host, _ = checked(parse_host_port)(address)
    checked(_check_host)(host)
    folder = ray_folder or short_folder(token_file.absolute().parent / f"head-{address}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    config = HeadConfig(address, token_file, folder, log_file, cpus)

    def ready(seconds: float) -> None:
        text = f"Ray head is up at {address} after {seconds:.1f} s"
        _say(text, event="ready", address=address, seconds=round(seconds, 3))

    _log_to_stderr()
    trio.run(run_head, config, ready)


@app.command()
def join(
    address: JoinAddress,
    token_file: TokenFile,
    data: DataFile,
    key: KeyOption = "default",
    rpc: RpcOption = None,
    is_registered: RegisterOption = True,
    chain_id: ChainOption = None,
    node_ip: NodeIpOption = None,
    folder: FolderOption = None,
    home: HomeOption = None,
    capacity: Annotated[int, typer.Option(min=1, max=64, help="Jobs held at once.")] = 2,
    kinds: Annotated[str, typer.Option(help="Job kinds to run, comma-separated.")] = KINDS,
    fee_max: Annotated[str, typer.Option(help="Highest fee of one transaction, in AIOS.")] = "0.1",
    passphrase_file: PassphraseOption = None,
    ray_folder: RayFolder = None,
    log_file: LogFile = None,
    as_json: Json = False,
) -> None:
    """Contribute computing power and local data to an operator's cluster, until Ctrl-C.

    The key and the data stay in this process, outside Ray; it runs only the job kinds you allow and
    signs only what it did itself, for one chain, up to your fee limit. The account pays small fees
    and bonds: send it some AIOS first.

    \b
    aios worker join --address 192.168.1.5:6379 --token-file ray.token \\
        --data mine.npz --key alice --rpc http://192.168.1.5:8645
    """
    # Before numpy is first imported, by the line after it.
    os.environ.update(BLAS_SETTINGS)
    from compute.agent import Policy
    from compute.enrolment import address_towards, default_folder, parse_chain_id, settle_chain
    from compute.registration import Offer
    from compute.worker import WorkerConfig

    reopen_session(rpc, as_json)
    checked(parse_host_port)(address)
    named = None if chain_id is None else checked(parse_chain_id)(chain_id)
    allowed, limit = checked(_parse_kinds)(kinds), checked(parse_amount)(fee_max)
    offer = Offer(checked(parse_address)(home) if home else None, capacity)
    keys = unlock(key, passphrase_file)
    place = node_ip or address_towards(address, keys.address)
    checked(_check_host)(place)
    kept = folder or default_folder(current().home, keys.address)
    kept.mkdir(parents=True, exist_ok=True, mode=0o700)
    url = current().rpc if is_registered else None
    chain = trio.run(settle_chain, kept, named, url, current().token)
    config = WorkerConfig(
        ray_address=address,
        node_ip=place,
        token_file=token_file,
        folder=kept,
        ray_folder=ray_folder or short_folder(kept),
        log_file=log_file or kept / "ray.log",
        data=data,
        policy=Policy(chain, limit, allowed),
        rpc_url=url,
        rpc_token=current().token,
        offer=offer,
    )
    _work(config, keys)


def _work(config: "WorkerConfig", keys: "KeyPair") -> None:
    from compute.worker import Notices, run_worker

    config.ray_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name, chain = format_address(keys.address), config.policy.chain_id.hex()
    limit = format_amount(config.policy.fee_max)
    text = f"contributor {name}\nchain {chain}\nfolder {config.folder}\nfees up to {limit} AIOS"
    _say(text, event="agent", address=name, chain_id=chain, folder=str(config.folder))

    def joined(seconds: float) -> None:
        text = f"joined {config.ray_address} as {config.node_ip} after {seconds:.1f} s"
        _say(text, event="joined", address=name, seconds=round(seconds, 3))

    def registered() -> None:
        _say("registered on the chain: waiting for work", event="registered", address=name)

    _log_to_stderr()
    trio.run(run_worker, config, keys, Notices(joined, registered))


def _log_to_stderr() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    # One line for each request to a node would bury the rest.
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _say(text: str, **fields: Any) -> None:
    if current().is_json:
        emit_json(fields)
    else:
        print(text, flush=True)


def _check_host(host: str) -> None:
    if host in ("127.0.0.1", "localhost", "0.0.0.0"):
        raise Invalid(
            "address_unjoinable",
            f"Ray rewrites {host}; use the machine's own address, or 127.0.0.2 to 127.0.0.254 "
            "for a cluster that stays on this machine",
        )


def _parse_kinds(text: str) -> tuple[JobKind, ...]:
    names = {kind.name.lower(): kind for kind in JobKind}
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        raise Invalid("kinds_malformed", f"{text!r}: choose from {', '.join(names)}")
    return tuple(sorted({names[name] for name in wanted}))


if __name__ == "__main__":
    from p2p_aios.cli.main import main

    # As `aios worker`, so that options and errors are the same.
    sys.exit(main(["worker", *sys.argv[1:]]))
