"""Many transfers in one file: CSV with a header line, or one JSON object a line.

    to,amount                       {"to": "bob", "amount": "12.5"}
    aios1…,12.5                     {"to": "aios1…", "amount": "0.001"}
    bob,0.001

The whole file is read and checked before the first transfer is sent.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from p2p_aios.cli.arguments import parse_owner
from p2p_aios.errors import AiosError, Invalid
from p2p_aios.types.transaction import Transfer
from p2p_aios.units import Address, Amount, parse_amount

FILE_BYTES_MAX: Final = 16 << 20
TRANSFERS_MAX: Final = 100_000
COLUMNS: Final = ("to", "amount")


def read_transfers(file: Path) -> list[tuple[int, Transfer]]:
    """(number of the line, transfer) of each.

    Raises Invalid: `transfer_file_unreadable`, `transfer_malformed` with the line's number.
    """
    text = _read(file)
    is_json = text.lstrip().startswith("{")
    transfers = [
        (number, _transfer(number, row)) for number, row in (_json if is_json else _csv)(text)
    ]
    if not 0 < len(transfers) <= TRANSFERS_MAX:
        raise Invalid(
            "transfer_malformed", f"{len(transfers)} transfers; one to {TRANSFERS_MAX} can be sent"
        )
    return transfers


def _read(file: Path) -> str:
    try:
        with file.open("rb") as source:
            data = source.read(FILE_BYTES_MAX + 1)
        if len(data) > FILE_BYTES_MAX:
            raise Invalid("transfer_file_unreadable", f"{file} is larger than 16 MiB; split it")
        return data.decode("utf-8-sig")
    except OSError as error:
        raise Invalid("transfer_file_unreadable", f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Invalid("transfer_file_unreadable", f"{file} is no UTF-8 text") from None


def _csv(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(text.splitlines(), strict=True)
    try:
        for row in reader:
            yield reader.line_num, {str(name).strip(): value for name, value in row.items()}
    except csv.Error as error:
        raise _malformed(reader.line_num, str(error)) from None


def _json(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise _malformed(number, f"no JSON: {error}") from None
        if not isinstance(row, dict):
            raise _malformed(number, "no JSON object")
        yield number, row


def _transfer(number: int, row: dict[str, Any]) -> Transfer:
    if set(row) != set(COLUMNS):
        raise _malformed(number, f"it must have {' and '.join(COLUMNS)}, and nothing else")
    if not all(isinstance(row[name], str) for name in COLUMNS):
        raise _malformed(number, "both must be text, amounts as well")
    try:
        recipient = parse_owner(row["to"].strip())
        return Transfer(Address(recipient), Amount(parse_amount(row["amount"].strip())))
    except AiosError as fault:
        raise _malformed(number, fault.message) from None


def _malformed(number: int, why: str) -> Invalid:
    return Invalid("transfer_malformed", f"line {number}: {why}", line=number)
