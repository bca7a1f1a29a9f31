"""`aios worker`: contributors of computing power; `join` and `head` come with `compute`."""

import typer

from p2p_aios.cli.display import emit_table
from p2p_aios.cli.optiongroup import spread
from p2p_aios.cli.plugins import PluginGroup
from p2p_aios.cli.session import ask
from p2p_aios.cli.signing import Signing, submit
from p2p_aios.types.compute import RetireWorker
from p2p_aios.types.views import Workers

app = typer.Typer(
    cls=PluginGroup,
    help="Contributors of computing power.",
    no_args_is_help=True,
    add_completion=False,
)


@app.callback()
def group() -> None:
    """Contributors of computing power."""


@app.command("list")
def list_all() -> None:
    """List registered workers: their node, what they run, and how many jobs they hold.

    \b
    aios worker list
    """
    workers = ask(lambda client: client.workers())
    emit_table(workers, Workers, ("address", "home", "kinds", "held", "capacity", "is_retired"))


@app.command()
@spread
def retire(signing: Signing) -> None:
    """Withdraw a worker's offer: no new seats or jobs; held ones stay due.

    Stop `aios worker join` once `aios worker list` shows no job held; started again, it offers
    anew.

    \b
    aios worker retire --key alice
    """
    submit(signing, RetireWorker())
