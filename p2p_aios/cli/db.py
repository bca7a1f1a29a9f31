"""`aios db`: look after the chain that a node keeps on disk. The node must not run meanwhile."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from p2p_aios.cli.display import emit_fields
from p2p_aios.cli.session import current
from p2p_aios.errors import Corrupt

app = typer.Typer(
    help="Check and compact the chain of a stopped node.",
    no_args_is_help=True,
    add_completion=False,
)
ConfigOption = Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file.")]


@app.command()
def check(config: ConfigOption = Path("node.toml")) -> None:
    """Walk every block, the state trie and the flat table, and compare them. Changes nothing.

    Ends with status 4 where anything is wrong; what is wrong is listed.

    \b
    aios db check --config mynode/node.toml
    """
    from p2p_aios.node.config import load_config
    from p2p_aios.node.identity import load_genesis
    from p2p_aios.store.chain import ChainStore
    from p2p_aios.store.check import check_chain
    from p2p_aios.store.compact import require_chain
    from p2p_aios.types.genesis import chain_id

    node = load_config(config).node
    folder = node.data / "chain"
    require_chain(folder)
    with ChainStore.open(folder, chain_id(load_genesis(node.genesis))) as store:
        report = check_chain(store, _tell_progress())
    told: dict[str, Any] = asdict(report)
    problems = told.pop("problems")
    if problems:
        if not current().is_json:
            emit_fields(told)
            print(*(f"- {problem}" for problem in problems), sep="\n", flush=True)
        raise Corrupt(
            "chain_unsound",
            f"{folder} is damaged; move it away, and the node fetches the chain anew; keep the "
            "journal beside it, which knows what a validator signed",
            problems=list(problems),
        )
    emit_fields({**told, "verdict": "sound"})


@app.command()
def compact(config: ConfigOption = Path("node.toml")) -> None:
    """Give the disk back what the chain no longer uses. Takes as much room as the chain, for a
    while; may be interrupted at any moment.

    \b
    aios db compact --config mynode/node.toml
    """
    from p2p_aios.node.config import load_config
    from p2p_aios.store.compact import compact_chain

    done = compact_chain(load_config(config).node.data / "chain")
    emit_fields(asdict(done))


def _tell_progress() -> Any:
    """A function that shows on a terminal how far the check is."""
    if current().is_json or not sys.stderr.isatty():
        return lambda *_: None

    def tell(phase: str, done: int, total: int) -> None:
        print(f"\r\x1b[K{phase}: {done:,} of {total:,}", end="\r", file=sys.stderr, flush=True)

    return tell
