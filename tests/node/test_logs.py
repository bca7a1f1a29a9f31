"""The node's log in both forms."""

import json
import logging
import subprocess
import sys

from p2p_aios.node.logs import MESSAGE_CHARS_MAX, JsonFormatter


def record(message: str, *given: object) -> logging.LogRecord:
    return logging.LogRecord("p2p_aios.node.x", logging.INFO, "x.py", 1, message, given, None)


def test_identifiers_become_fields() -> None:
    line = json.loads(
        JsonFormatter().format(record("block height=%d hash=%s lag_ms=%d", 7, "0aF", -3))
    )
    assert line["fields"] == {"height": 7, "hash": "0aF", "lag_ms": -3}
    assert (line["level"], line["logger"]) == ("INFO", "p2p_aios.node.x")
    assert line["message"] == "block height=7 hash=0aF lag_ms=-3"
    assert line["time"].endswith("Z")
    assert "fields" not in json.loads(JsonFormatter().format(record("a plain sentence")))


def test_whatever_is_logged_is_one_line() -> None:
    hostile = 'x\n{"level": "ERROR"}\r\u2028 level=FORGED time=1'
    text = JsonFormatter().format(record("peer said %s", hostile))
    assert len(text.splitlines()) == 1
    line = json.loads(text)
    assert line["level"] == "INFO", "fields of a message never replace the line's own"
    assert line["fields"] == {"level": "FORGED", "time": 1}
    assert line["message"] == f"peer said {hostile}"
    long = json.loads(JsonFormatter().format(record("y" * (2 * MESSAGE_CHARS_MAX))))
    assert len(long["message"]) == MESSAGE_CHARS_MAX


PROGRAM = """
import logging, sys
from p2p_aios.node.config import LogSection
from p2p_aios.node.logs import configure_logging
configure_logging(LogSection("INFO", sys.argv[1]))
logging.getLogger("a").info("peer=%s here", "16U")
logging.getLogger("a").debug("too fine")
logging.getLogger("libp2p.host").error("libp2p grumbles")
try:
    1 / 0
except ZeroDivisionError:
    logging.getLogger("a").exception("broken")
"""


def lines_of(form: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True
    )
    return done.stderr.splitlines()


def test_a_process_writes_the_form_it_was_told() -> None:
    first, second = map(json.loads, lines_of("json"))
    assert first["fields"] == {"peer": "16U"}
    assert second["message"] == "broken"
    assert second["exception"].endswith("ZeroDivisionError: division by zero")
    text = lines_of("text")
    assert text[0].endswith("I a peer=16U here")
    assert text[-1] == "ZeroDivisionError: division by zero"
    assert not any("libp2p grumbles" in line or "too fine" in line for line in text)
