"""`aios node`: run a node, and ask it how it is."""

from pathlib import Path
from typing import Annotated

import typer

from p2p_aios.cli.display import emit, emit_fields, emit_table
from p2p_aios.cli.session import ask
from p2p_aios.types.views import Peers

app = typer.Typer(
    help="Run a node, and ask it how it is.", no_args_is_help=True, add_completion=False
)


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")] = Path(
        "node.toml"
    ),
) -> None:
    """Run a node in the foreground until SIGINT or SIGTERM.

    \b
    aios node init mynode --genesis genesis.json
    aios node run --config mynode/node.toml
    """
    # Imported here: it brings libp2p along.
    from p2p_aios.node.run import run_node

    run_node(config)


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="New folder of the node.")],
    genesis: Annotated[Path, typer.Option(help="The chain's genesis file; it is copied.")],
    listen: Annotated[
        str, typer.Option(help="Multiaddress to listen on.")
    ] = "/ip4/0.0.0.0/tcp/9645",
    rpc_listen: Annotated[str, typer.Option(help="host:port of the RPC.")] = "127.0.0.1:8645",
    peers: Annotated[
        list[str] | None, typer.Option("--peer", help="Multiaddress to dial; repeat.")
    ] = None,
    is_validator: Annotated[
        bool, typer.Option("--validator", help="Make a validator key too.")
    ] = False,
) -> None:
    """Make a node's folder: commented configuration, genesis and keys.

    \b
    aios node init mynode --genesis genesis.json --peer /ip4/192.0.2.1/tcp/9645/p2p/16Uiu2...
    """
    from p2p_aios.cli.nodefolder import NodeFolder, write_node_folder

    wanted = NodeFolder(folder, genesis, listen, rpc_listen, tuple(peers or ()), is_validator)
    emit_fields(write_node_folder(wanted))


@app.command()
def status() -> None:
    """Show chain, height, finality, peers and compute gateway.

    \b
    aios node status
    aios node status --rpc http://127.0.0.1:8646 --json
    """
    emit(ask(lambda client: client.status()))


@app.command()
def peers() -> None:
    """List the peers the node is connected to.

    \b
    aios node peers
    """
    found = ask(lambda client: client.peers())
    columns = ("peer_id", "address", "validator", "is_inbound", "height", "round_trip_ms")
    emit_table(found, Peers, columns)
