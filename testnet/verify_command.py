"""`aios verify`: check what the chain claims, by other means than those that made the claim."""

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from p2p_aios.cli.arguments import checked, parse_id
from p2p_aios.cli.display import emit_json
from p2p_aios.cli.session import ask, current, reopen_session

if TYPE_CHECKING:
    from p2p_aios.units import Hash

EXIT_DIFFERENT: Final = 1
"""Exit status where the recomputation differs from the chain."""

verify_app = typer.Typer(
    name="verify",
    help="Recompute what the chain claims, and compare.",
    no_args_is_help=True,
    add_completion=False,
)

Url = Annotated[str | None, typer.Option("--rpc", metavar="URL", help="Any node of the network.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs: one JSON object.")]


@verify_app.command("round")
def verify_round(
    task: Annotated[
        bytes, typer.Option(parser=checked(parse_id), metavar="ID", help="The learning task.")
    ],
    number: Annotated[int, typer.Option("--round", min=0, help="Its round, from 0.")],
    rpc: Url = None,
    as_json: AsJson = False,
) -> None:
    """Repeat a settled round from its CIDs; exit status 1 unless all comes out equal.

    \b
    aios verify round --task 5f0c… --round 7
    """
    from p2p_aios.codec import schema
    from p2p_aios.codec.cid import format_cid
    from p2p_aios.crypto.keys import format_address
    from testnet.verification import verify_settled_round

    id: Hash = parse_id(task.hex())
    reopen_session(rpc, as_json)
    found = ask(lambda client: verify_settled_round(client, id, number))
    result = {
        "task": task.hex(),
        "round": number,
        "verified": found.is_equal,
        "differences": list(found.differences),
        "aggregate": format_cid(found.aggregate),
        "score": schema.to_json(found.score),
        "contributors": [format_address(address) for address in found.contributors],
    }
    good = f"round {number}: aggregate, score and contributors are what the chain recorded"
    _tell(result, good, found.differences)


@verify_app.command("supply")
def verify_supply(rpc: Url = None, as_json: AsJson = False) -> None:
    """Add up every account at one height; exit status 1 unless eq. (10) comes out.

    \b
    aios verify supply --json
    """
    from p2p_aios.codec import schema
    from p2p_aios.units import format_amount
    from testnet.inspection import audit_supply

    reopen_session(rpc, as_json)
    supply, differences = ask(audit_supply)
    result = {
        "supply_ok": not differences,
        "differences": list(differences),
        "supply": schema.to_json(supply),
    }
    good = (
        f"height {supply.height}: {format_amount(supply.circulating)} AIOS circulating and "
        f"{format_amount(supply.reserve)} in reserve, every unit found"
    )
    _tell(result, good, differences)


def _tell(result: dict[str, Any], good: str, differences: tuple[str, ...]) -> None:
    if current().is_json:
        emit_json(result)
    else:
        for difference in differences:
            typer.secho(f"✗ {difference}", fg="red")
        if not differences:
            typer.secho(f"✓ {good}", fg="green")
    if differences:
        raise typer.Exit(EXIT_DIFFERENT)
