"""Many transfers at once, decoding without a node, and following events."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from p2p_aios.cli.transferfile import read_transfers
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import Invalid
from p2p_aios.sdk import Client
from p2p_aios.types.transaction import TransactionBody, Transfer, sign_transaction
from p2p_aios.units import AIOS, ZERO_HASH, Amount, Hash, Height
from tests.cli.conftest import Node, Run
from tests.rpc.memory_backend import ALICE, BOB

Keys = dict[str, KeyPair]


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "transfers"
    file.write_text(text)
    return file


@pytest.mark.usefixtures("node")
def test_a_batch_is_sent_in_order_and_told_of(run: Run, keys: Keys, tmp_path: Path) -> None:
    lines = ["to,amount"] + [f"{format_address(keys['bob'].address)},1"] * 40 + ["bob, 0.5"]
    ran = run("tx", "batch", str(write(tmp_path, "\n".join(lines))), "--key", "alice", "--json")
    told = [json.loads(line) for line in ran.out.splitlines()]
    assert ran.code == 0
    assert [each["line"] for each in told] == list(range(2, 43))
    assert {each["code"] for each in told} == {"ok"}
    heights = [each["height"] for each in told]
    assert heights == sorted(heights)
    account = run("account", "show", "bob", "--json").json
    assert account["balance"] == str(40 * AIOS + AIOS // 2)
    one = write(tmp_path, '{"to": "bob", "amount": "2"}\n\n')
    assert "line 1  " in run("tx", "batch", str(one), "-k", "alice").out


@pytest.mark.usefixtures("node", "keys")
def test_a_failed_line_ends_the_batch(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path, "to,amount\nbob,1\nbob,100000\n" + "bob,1\n" * 60)
    ran = run("tx", "batch", str(file), "--key", "alice", "--json")
    *told, fault = map(json.loads, ran.out.splitlines())
    assert (ran.code, fault["error"]["code"]) == (1, "funds_missing")
    codes = {each["line"]: each["code"] for each in told}
    assert (codes.pop(3), set(codes.values())) == ("funds_missing", {"ok"})
    assert len(codes) < 32, "no further lines are sent"
    balance = run("account", "show", "bob", "--json").json["balance"]
    assert balance == str(len(codes) * AIOS)


@pytest.mark.usefixtures("keys")
def test_a_refused_line_is_named(
    run: Run, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit, asked = node.backend.submit, []

    async def refuse_the_third(raw: bytes) -> Hash:
        asked.append(raw)
        if len(asked) == 3:
            raise Invalid("fee_too_low", "offer more")
        return await submit(raw)

    monkeypatch.setattr(node.backend, "submit", refuse_the_third)
    file = write(tmp_path, "to,amount\n" + "bob,1\n" * 5)
    ran = run("tx", "batch", str(file), "--key", "alice", "--json")
    *told, fault = map(json.loads, ran.out.splitlines())
    assert [each["line"] for each in told] == [2, 3]
    assert fault["error"] == {"code": "fee_too_low", "message": "line 4: offer more"}
    assert (ran.code, len(asked)) == (1, 3)


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 transfers"),
        ("to,amount\n", "0 transfers"),
        ("to,amount\nbob\n", "line 2: both must be text"),
        ("to,sum\nbob,1\n", "line 2: it must have to and amount"),
        ("to,amount\nbob,1\nnobody,1\n", "line 3: no key 'nobody'"),
        ("to,amount\nbob,one\n", "line 2: "),
        ('to,amount\n"bob,1\n', "unexpected end of data"),
        ('{"to": "bob", "amount": 1}', "line 1: both must be text"),
        ('{"to": "bob", "amount": "1"}\n[]', "line 2: no JSON object"),
        ('{"to": "bob", "amount": "1"}\n{', "line 2: no JSON: "),
        ("{" + '"a":[' * 100_000, "line 1: no JSON: "),
    ],
)
def test_a_malformed_file_sends_nothing(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(Invalid, match="transfer_malformed") as caught:
        read_transfers(write(tmp_path, text))
    assert why in caught.value.message


def test_an_unreadable_file(run: Run, tmp_path: Path) -> None:
    missing = run("tx", "batch", str(tmp_path / "none"))
    assert (missing.code, "[transfer_file_unreadable]" in missing.err) == (1, True)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x80")
    assert "no UTF-8" in run("tx", "batch", str(tmp_path / "binary")).err


def test_a_transaction_is_decoded_without_a_node(run: Run) -> None:
    body = TransactionBody(
        ZERO_HASH, ALICE.public_key, 7, Amount(9), Height(1), Transfer(BOB.address, Amount(AIOS))
    )
    signed = sign_transaction(ALICE, body)
    shown = run("tx", "decode", signed.raw.hex(), "--json").json
    assert shown["id"] == signed.id.hex()
    assert shown["transaction"]["body"]["nonce"] == 7
    text = run("tx", "decode", "0x" + signed.raw.hex()).out
    assert format_address(ALICE.address) in text
    assert "1 AIOS" in text
    forged = signed.raw[:-1] + bytes((signed.raw[-1] ^ 1,))
    for wrong in (forged.hex(), "00", "zz", signed.raw.hex() + "00"):
        assert run("tx", "decode", wrong).code == 1, wrong


@pytest.mark.usefixtures("keys", "node")
def test_what_is_shown_raw_can_be_decoded(run: Run) -> None:
    sent = run("tx", "send", "bob", "1", "--key", "alice", "--json").json
    raw = run("tx", "show", sent["id"], "--raw").out.strip()
    assert run("tx", "show", sent["id"], "--raw", "--json").json == {"id": sent["id"], "raw": raw}
    assert run("tx", "decode", raw, "--json").json == {
        "id": sent["id"],
        "transaction": sent["transaction"],
    }


@pytest.fixture
def payments(node: Node) -> Iterator[None]:
    """Alice pays Bob again and again."""
    stop = threading.Event()

    async def pay() -> None:
        async with Client(node.url) as client:
            while not stop.is_set():
                await client.send(ALICE, Transfer(BOB.address, Amount(1)))
                await trio.sleep(0.1)

    thread = threading.Thread(target=trio.run, args=(pay,))
    thread.start()
    yield
    stop.set()
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.usefixtures("payments")
def test_events_are_followed(run: Run, keys: Keys) -> None:
    bob = format_address(keys["bob"].address)
    wanted = ("events", "follow", "--kinds", "Transferred,JobSettled", "--subject", bob)
    ran = run(*wanted, "--count", "2", "--json")
    first, second = map(json.loads, ran.out.splitlines())
    assert first["height"] <= second["height"]
    assert bob in json.dumps(first["event"])
    assert "Transferred" in run("events", "follow", "-n", "1").out
    wrong = run("events", "follow", "--kinds", "Nothing")
    assert (wrong.code, "[unknown_event_kind]" in wrong.err) == (1, True)


@pytest.mark.usefixtures("payments", "keys")
def test_block_show_tx(run: Run) -> None:
    for _ in run("block", "follow", "--count", "3", "--json").out.splitlines():
        pass
    block = run("block", "show", "--tx", "--json").json
    assert isinstance(block["transactions"], list)
    assert run("block", "show", "--json").json["transactions"] is None
