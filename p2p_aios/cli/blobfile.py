"""Blobs as people name them: a CID, or a file whose bytes have one."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from p2p_aios.codec.cid import cid_of, parse_cid
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.units import Cid

if TYPE_CHECKING:
    from p2p_aios.sdk import Client

BLOB_BYTES_MAX: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class NamedBlob:
    cid: Cid
    data: bytes | None
    """Where a file was named: what the node may have to be given."""


def name_blob(text: str) -> NamedBlob:
    """Blob of a file, if there is one of that name, else of a CID.

    Raises Invalid: `unknown_blob`, and as `read_blob_file`.
    """
    file = Path(text)
    if file.is_file():
        data = read_blob_file(file)
        return NamedBlob(cid_of(data), data)
    try:
        return NamedBlob(parse_cid(text), None)
    except Invalid:
        raise Invalid("unknown_blob", f"{text!r} is neither a file nor a CID") from None


def read_blob_file(file: Path) -> bytes:
    """Raises Invalid: `blob_file_unreadable`, `blob_too_large`."""
    try:
        with file.open("rb") as source:
            data = source.read(BLOB_BYTES_MAX + 1)
    except OSError as error:
        raise Invalid("blob_file_unreadable", f"cannot read {file}: {error.strerror}") from None
    if len(data) > BLOB_BYTES_MAX:
        raise Invalid("blob_too_large", f"{file} is larger than 64 MiB")
    return data


def write_file(file: Path, data: bytes) -> None:
    """Write or replace a file that the user named; raises Unavailable(`file_unwritable`)."""
    try:
        file.write_bytes(data)
    except OSError as error:
        raise Unavailable("file_unwritable", f"cannot write {file}: {error.strerror}") from None


async def upload(client: "Client", blobs: Iterable[bytes]) -> None:
    """Give the node those that it lacks."""
    for data in blobs:
        if not await client.has_blob(cid_of(data)):
            await client.put_blob(data)
