"""What the guide shows of the SDK runs as it stands, but for where nodes and keys are."""

import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p_aios.codec import schema
from p2p_aios.crypto.keystore import save_keystore
from p2p_aios.node.chain import Chain
from p2p_aios.types.transaction import Transfer, check_transaction
from p2p_aios.units import Amount, Hash
from tests.node.chain_backend import ChainBackend
from tests.node.founders import ALICE, BOB, Founders
from tests.rpc.serving import serving

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guide.md"
SNIPPETS = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.M | re.S)
FOUNDERS = Founders(timestamp_ms=int(time.time() * 1000))
SNIPPET_S_MAX = 20


class Instant(ChainBackend):
    """A node on which whatever is submitted is final at once."""

    def __init__(self, chain: Chain) -> None:
        super().__init__(chain)
        self._turn = trio.Lock()

    async def submit(self, raw: bytes) -> Hash:
        return await self.include(check_transaction(raw, self.chain_id))

    async def include(self, transaction: Any) -> Hash:
        async with self._turn:
            final = await FOUNDERS.extend(self._chain, transaction)
        outcome = await self.outcome_at(final.block.header.height)
        assert outcome is not None
        self.feed.publish(final, outcome)
        return Hash(transaction.id)

    async def go_on(self) -> None:
        """A transfer of Bob's every now and then."""
        while True:
            action = Transfer(ALICE.address, Amount(1))
            await self.include(FOUNDERS.transaction(self._chain, BOB, action))
            await trio.sleep(0.05)


@asynccontextmanager
async def running(chain: Chain) -> AsyncIterator[list[str]]:
    """Addresses of two nodes of a chain that grows."""
    node: Any = Instant(chain)
    # Genesis is certified by nobody: there is something to prove from the first block on.
    await FOUNDERS.extend(chain)
    async with (
        serving(backend=node) as first,
        serving(backend=node) as second,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(node.go_on)
        yield [first.url, second.url]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, r"final in block \d+; bob has \d+\.\d+ AIOS"),
        (1, r"AIOS circulate after block \d+\n(seat [0-3] proposed \d+ blocks in this epoch\n){4}"),
        (2, r"(block \d+: Transferred\(.*\)\n)+"),
    ],
)
async def test_snippet_runs(
    number: int,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert len(SNIPPETS) == 3
    monkeypatch.chdir(tmp_path)
    keys = Path(".testnet/keys")
    keys.mkdir(parents=True)
    for name, key in (("alice", ALICE), ("bob", BOB)):
        save_keystore(keys / f"{name}.pem", key, None)
    Path("genesis.json").write_text(json.dumps(schema.to_json(FOUNDERS.genesis)))
    async with FOUNDERS.open_chain(tmp_path / "chain") as chain, running(chain) as urls:
        code = SNIPPETS[number]
        for shown, real in zip(("127.0.0.1:8645", "127.0.0.1:8646"), urls, strict=True):
            assert shown in code
            code = code.replace(f"http://{shown}", real)
        with trio.fail_after(SNIPPET_S_MAX):
            await trio.to_thread.run_sync(exec, compile(code, "guide.md", "exec"), {})
    assert re.search(said, capsys.readouterr().out)
