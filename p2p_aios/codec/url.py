"""Addresses of nodes, as people write them."""

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from p2p_aios.errors import Invalid

_NAME: Final = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_PLAIN: Final = re.compile(r"[!-~]+")
"""What a request carries as it is, and urlsplit does not silently strip."""


def parse_url(text: str) -> str:
    """The base URL of a node's RPC, without a slash at its end; raises Invalid(`url_malformed`)."""
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in ("http", "https") and _is_host(parts.hostname or "")
        is_whole = is_whole and parts.port != 0 and not set(text) & set("?#@%")
    except ValueError:  # a port, or an IPv6 address, that is none
        is_whole = False
    if not is_whole or not _PLAIN.fullmatch(text):
        raise Invalid("url_malformed", f"{text[:80]!r} is no node's URL: write http://host:port")
    return text.rstrip("/")


def format_url(host: str, port: int) -> str:
    """Where a node's RPC answers without TLS; an IPv6 address gets its brackets."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _is_host(name: str) -> bool:
    """A name, or an IP address; raises ValueError for a number that is no address."""
    if ":" in name or name.rpartition(".")[2].isdecimal():
        ip_address(name)
        return True
    return _NAME.fullmatch(name) is not None
