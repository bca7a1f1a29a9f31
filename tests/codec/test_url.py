from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2p_aios.codec.url import parse_url
from p2p_aios.errors import Invalid


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8645",
        "http://localhost",
        "http://[::1]:8645",
        "https://node.example/aios",
        "http://xn--bcher-kva.example:1",
    ],
)
def test_urls_of_nodes(text: str) -> None:
    assert parse_url(text) == parse_url(f"{text}/") == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8645",
        "ftp://x",
        "ws://x",
        "http://",
        "http://:8645",
        "http:///x",
        "http://x:port",
        "http://x:0",
        "http://x:65536",
        "http://[::1",
        "http://a b",
        "http://a\n.example",
        "http://bücher.example",
        "http://me:secret@x",
        "http://x/?y",
        "http://x#y",
        "http://x,http://y",
        "http://1.2.3.999",
        "http://a..b",
        "http://[fe80::1%eth0]:1",
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_url(text)
    assert caught.value.code == "url_malformed"


@given(st.text("htps:/.-_[]%a1é0,\\^\n", max_size=12).map("http://".__add__))
def test_what_is_taken_can_be_asked(text: str) -> None:
    with suppress(Invalid):
        httpx.URL(parse_url(text))
