"""How a node's log looks: lines for people, or one JSON object a line for programs.

Messages begin with their identifiers (`block height=7 view=9 …`). In JSON these pairs stand once
more under `fields`, numbers as numbers, so that a log search needs no pattern:

    {"time": "2026-01-31T12:00:00.000Z", "level": "INFO", "logger": "p2p_aios.node.finality",
     "message": "block height=7 view=9 …", "fields": {"height": 7, "view": 9, …}}
"""

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, Final

from p2p_aios.node.config import LogSection

QUIET_LOGGERS: Final = ("libp2p", "hypercorn", "httpx", "httpcore")
MESSAGE_CHARS_MAX: Final = 64 * 1024
"""Longest message, and longest traceback, of one JSON line."""
_PAIR: Final = re.compile(r"(?:^|(?<=\s))([a-z][a-z0-9_]*)=(\S+)")
_INTEGER: Final = re.compile(r"-?[0-9]{1,18}")


def configure_logging(wanted: LogSection) -> None:
    """Send this process's log to stderr in the wanted form."""
    handler = logging.StreamHandler(sys.stderr)
    is_json = wanted.format == "json"
    text = logging.Formatter("%(asctime)s %(levelname).1s %(name)s %(message)s")
    handler.setFormatter(JsonFormatter() if is_json else text)
    logging.basicConfig(level=wanted.level, handlers=[handler])
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)


class JsonFormatter(logging.Formatter):
    """One JSON object a record, whatever is in it: a line feed cannot forge a second one."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()[:MESSAGE_CHARS_MAX]
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": when.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": message,
        }
        if fields := {name: _plain(value) for name, value in _PAIR.findall(message)}:
            line["fields"] = fields
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-MESSAGE_CHARS_MAX:]
        return json.dumps(line)


def _plain(value: str) -> int | str:
    return int(value) if _INTEGER.fullmatch(value) else value
