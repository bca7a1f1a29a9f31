"""`aios blob`: models, updates and shards, stored and fetched by content address."""

import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_aios.cli.arguments import checked
from p2p_aios.cli.blobfile import read_blob_file, upload, write_file
from p2p_aios.cli.display import emit_fields
from p2p_aios.cli.session import ask, current
from p2p_aios.codec.cid import DAG_CBOR, cid_of, format_cid, parse_cid
from p2p_aios.errors import Invalid
from p2p_aios.units import Cid

if TYPE_CHECKING:
    from p2p_aios.sdk.client import Client

app = typer.Typer(
    help="Models, updates and shards, by content address.",
    no_args_is_help=True,
    add_completion=False,
)
CidArgument = Annotated[bytes, typer.Argument(parser=checked(parse_cid), metavar="CID")]


@app.command()
def put(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="At most 64 MiB each.")],
) -> None:
    """Store files on the node; prints what names each from now on, its CID.

    \b
    aios blob put base.bin test.bin
    """
    for file in files:
        data = read_blob_file(file)
        ask(lambda client, data=data: upload(client, [data]))  # type: ignore[misc]
        cid = format_cid(cid_of(data))
        if current().is_json:
            emit_fields({"file": str(file), "bytes": len(data), "cid": cid})
        else:
            print(f"{cid}  {file}", flush=True)


@app.command()
def get(
    cid: CidArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: stdout.")
    ] = None,
) -> None:
    """Fetch a blob from the node or its peers; its bytes are checked against the CID.

    \b
    aios blob get bafk... --out model.bin
    """
    if out is None and sys.stdout.isatty() and not current().is_json:
        raise Invalid("output_binary", "a terminal shows no blobs: name a file by --out")
    data = ask(lambda client: client.get_blob(Cid(cid)))
    told = {"cid": format_cid(Cid(cid)), "bytes": len(data)}
    if out is not None:
        write_file(out, data)
        emit_fields({**told, "file": str(out)})
    elif current().is_json:
        emit_fields({**told, "base64": base64.b64encode(data).decode()})
    else:
        sys.stdout.buffer.write(data)


@app.command()
def show(cid: CidArgument) -> None:
    """Tell whether the node itself holds a blob, and how long it is.

    \b
    aios blob show bafk...
    """

    async def look(client: "Client") -> int | None:
        return len(await client.get_blob(Cid(cid))) if await client.has_blob(Cid(cid)) else None

    length = ask(look)
    emit_fields(
        {
            "cid": format_cid(Cid(cid)),
            "codec": "dag-cbor" if cid[1] == DAG_CBOR else "raw",
            "is_held": length is not None,
            "bytes": length,
        }
    )
