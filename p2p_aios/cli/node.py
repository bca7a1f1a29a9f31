"""`aios node`: run a node, and ask it how it is."""

import json
from pathlib import Path
from typing import Annotated

import typer

from p2p_aios.cli.blobfile import write_file
from p2p_aios.cli.display import emit, emit_fields, emit_json, emit_table
from p2p_aios.cli.session import ask, current
from p2p_aios.codec import schema
from p2p_aios.types.views import Peers, Validators

app = typer.Typer(
    help="Run a node, and ask it how it is.", no_args_is_help=True, add_completion=False
)


ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]


@app.command()
def run(config: ConfigOption = Path("node.toml")) -> None:
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
def genesis(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: stdout.")
    ] = None,
) -> None:
    """Fetch the chain's genesis from a node, for a node of one's own.

    Compare the chain id with one from somebody you trust: it stands for the whole genesis.

    \b
    aios node genesis --rpc http://192.0.2.1:8645 --out genesis.json
    """
    chain_id, found = ask(lambda client: client.chain())
    text = schema.to_json(found)
    if out is None:
        emit_json(text)
        return
    write_file(out, json.dumps(text, indent=1).encode() + b"\n")
    emit_fields({"file": str(out), "network": found.network, "chain_id": chain_id.hex()})


@app.command()
def address(config: ConfigOption = Path("node.toml")) -> None:
    """Print the multiaddress at which others reach a node; it need not run.

    Where it listens on 0.0.0.0, write the machine's own address instead.

    \b
    aios node address --config mynode/node.toml
    """
    # Imported here: they bring libp2p along.
    from p2p_aios.network.identity import address_of, peer_id_of
    from p2p_aios.node.config import load_config
    from p2p_aios.node.identity import load_identity

    loaded = load_config(config)
    peer = peer_id_of(load_identity(loaded).peer.secret)
    reached = address_of(loaded.network.listen, peer)
    if current().is_json:
        emit_json({"address": reached})
    else:
        print(reached)


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


@app.command()
def validators() -> None:
    """List validators: seat, weight, blocks in this epoch, and attestations that were wrong.

    \b
    aios node validators
    """
    found = ask(lambda client: client.validators())
    columns = ("address", "seat", "weight", "blocks", "wrong_attestations", "owner")
    emit_table(found, Validators, columns)
