"""What clients see of a real node: every question, over the real RPC."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import trio

from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import Invalid
from p2p_aios.ledger.queries import read_account
from p2p_aios.rpc.methods import METHODS
from p2p_aios.rpc.openrpc import describe_interface
from p2p_aios.sdk import Client
from p2p_aios.types.transaction import Transfer
from p2p_aios.types.views import GatewayState, TransactionState
from p2p_aios.units import ZERO_HASH, Amount, Hash, Height, Millis
from tests.ledger.world import cid
from tests.net.node_cluster import QUICK, open_cluster
from tests.node.founders import ALICE, BOB, FUNDS

BRISK = replace(QUICK, block_interval_ms=Millis(100))


async def test_every_question_is_answered(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, count=1, params=BRISK) as cluster:
        validator = await cluster.start_validator(0)
        observer = await cluster.start_observer()
        assert validator.serving is not None
        assert observer.serving is not None
        async with Client(validator.serving.url) as client, Client(observer.serving.url) as other:
            sent = await client.send_and_wait(ALICE, Transfer(BOB.address, Amount(7)))
            assert (sent.state, sent.receipt and sent.receipt.code) == (
                TransactionState.FINALIZED,
                "ok",
            )
            assert sent.height is not None
            await cluster.until_height(max(3, sent.height))
            for each in (client, other):
                account = await each.account(BOB.address)
                assert (account.balance, account.nonce) == (FUNDS + 7, 0)
                assert (await each.transaction(sent.id)).height == sent.height
                assert (await each.supply()).is_balanced
                assert await each.chain() == (cluster.founders.chain_id, cluster.founders.genesis)
                (peer,) = await each.peers()
                assert peer.address.startswith("127.0.0.1:")
            own, seen = await client.status(), await other.status()
            assert own.validator == cluster.founders.validators[0].address
            assert (seen.validator, seen.view) == (None, 0)
            assert own.gateway is GatewayState.ABSENT
            assert own.height >= sent.height
            with trio.fail_after(20):
                while (await other.status()).is_syncing:
                    await trio.sleep(0.05)
            await ask_the_rest(client)


async def ask_the_rest(client: Client) -> None:
    (validator,) = await client.validators()
    assert (validator.seat, validator.weight) == (0, 1)
    assert len((await client.committee()).members) == 1
    assert (await client.committee(1)).epoch == 1
    blocks = await client.blocks(Height(1), 3)
    assert [block.header.height for block in blocks] == [1, 2, 3]
    assert await client.workers() == ()
    assert await client.jobs() == ()
    assert await client.tasks() == ()
    blob = await client.put_blob(b"some bytes")
    assert await client.get_blob(blob) == b"some bytes"
    assert await client.has_blob(blob)
    assert not await client.has_blob(cid("absent"))
    for question in (client.job, client.task, client.transaction):
        with pytest.raises(Invalid, match="unknown_"):
            await question(ZERO_HASH)


async def test_numbers_at_the_edges_of_64_bits_are_answered_or_refused(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, count=1, params=BRISK) as cluster:
        validator = await cluster.start_validator(0)
        assert validator.serving is not None
        pay = await cluster.submit(ALICE, Transfer(BOB.address, Amount(7)), through=validator)
        assert isinstance(pay, bytes)
        known = {"address": format_address(BOB.address), "account": format_address(BOB.address)}
        async with Client(validator.serving.url) as client:
            await client.wait(Hash(pay))
            await cluster.until_height(3)
        calls = [
            {"jsonrpc": "2.0", "id": f"{name} {field}={number}", "method": name, "params": params}
            for name, params, field, number in edge_cases(known)
        ]
        assert len(calls) > 40
        async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
            for start in range(0, len(calls), 50):
                answer = await http.post(validator.serving.url, json=calls[start : start + 50])
                for each in answer.json():
                    code = each.get("error", {}).get("data", {}).get("code")
                    assert code not in ("internal_error", "deadline_exceeded"), each


def edge_cases(known: dict[str, str]) -> Iterator[tuple[str, dict[str, Any], str, int]]:
    """Every whole number that a method takes, at its edges, beside plausible parameters."""
    for name, method in METHODS.items():
        if method.is_on_socket or method.changes_state or name == "tx.wait":
            continue
        described = describe_interface([method])["methods"][0]["params"]
        names = [each["name"] for each in described]
        needed = {each["name"] for each in described if each["required"]}
        for field in ("height", "epoch", "first", "count", "limit", "round"):
            if field not in names:
                continue
            others = {key: known.get(key, "00" * 32) for key in needed - {field}}
            if name == "state.proof":
                others["account"] = known["account"]
            for number in (0, 1, 2, 2**31, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1):
                yield name, {**others, field: number}, field, number


async def test_sending_again_what_is_final_is_no_fault(tmp_path: Path) -> None:
    async with open_cluster(tmp_path, count=1, params=BRISK) as cluster:
        validator = await cluster.start_validator(0)
        assert validator.serving is not None
        chain = validator.parts.chain
        pay = cluster.founders.transaction(chain, ALICE, Transfer(BOB.address, Amount(7)))
        async with Client(validator.serving.url) as client:
            assert await client.submit(pay.raw) == pay.id
            await client.wait(pay.id)
            assert await client.submit(pay.raw) == pay.id
            changed = cluster.founders.transaction(
                chain, ALICE, Transfer(BOB.address, Amount(8)), nonce=0
            )
            with pytest.raises(Invalid, match="nonce_too_low"):
                await client.submit(changed.raw)
        with chain.state() as state:
            assert read_account(state, BOB.address).balance == FUNDS + 7
