"""`aios learn base` and `aios learn shard`: the blobs that a learning task names.

Registered as `learn` in the entry-point group `aios.commands`; `learn` itself is of `p2p_aios.cli`.
Numpy is imported where it is used: `aios learn --help` loads this file.
"""

from pathlib import Path
from typing import Annotated

import typer

from p2p_aios.cli.arguments import checked
from p2p_aios.cli.blobfile import write_file
from p2p_aios.cli.display import emit_fields
from p2p_aios.cli.modeloptions import ActivationOption, KindOption, parse_model
from p2p_aios.codec.cid import cid_of, format_cid

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.command()
def base(
    layers: Annotated[
        str,
        typer.Option(
            "--layers", metavar="N,N,…", help="Widths from inputs to outputs, e.g. 64,64,10."
        ),
    ],
    kind: KindOption = "mlp",
    activation: ActivationOption = "relu",
    seed: Annotated[
        str, typer.Option(metavar="TEXT", help="The same seed gives the same parameters.")
    ] = "aios",
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("base.bin"),
) -> None:
    """Make a model's first parameters; anyone can make them again from the seed.

    \b
    aios learn base --layers 64,64,10 --out base.bin
    aios learn base --model linear --layers 64,10 --seed mine
    """
    from compute.models.initial import initial_parameters
    from compute.parameters import write_parameters

    spec = checked(parse_model)(kind, layers, activation)
    parameters = initial_parameters(spec, seed.encode())
    blob = write_parameters(parameters)
    write_file(out, blob)
    emit_fields(
        {
            "file": str(out),
            "cid": format_cid(cid_of(blob)),
            "parameters": len(parameters),
            "bytes": len(blob),
            "seed": seed,
        }
    )


@app.command()
def shard(
    data: Annotated[
        Path, typer.Argument(metavar="DATA.npz", help="x (rows × columns) and y (labels).")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write.")] = Path("test.bin"),
) -> None:
    """Make a test shard: the public rows that every validator scores a task's model on.

    Labels are class numbers from 0; columns are the model's inputs.

    \b
    aios learn shard digits-test.npz --out test.bin
    """
    from compute.local_data import load_local_data
    from compute.shard import make_shard, write_shard

    rows = load_local_data(data)
    blob = write_shard(make_shard(rows.x, rows.y))
    write_file(out, blob)
    emit_fields(
        {
            "file": str(out),
            "cid": format_cid(cid_of(blob)),
            "rows": len(rows.y),
            "columns": rows.x.shape[1],
            "classes": int(rows.y.max()) + 1,
            "bytes": len(blob),
        }
    )
