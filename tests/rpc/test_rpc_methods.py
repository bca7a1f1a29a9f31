"""Every method over real HTTP, against the in-memory node."""

import base64
from dataclasses import replace
from typing import Any

import trio

from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of, format_cid
from p2p_aios.crypto.keys import format_address
from p2p_aios.rpc.methods import METHODS
from p2p_aios.rpc.methods.blob import SMALL_BLOB_BYTES_MAX
from p2p_aios.rpc.registry import JSON
from p2p_aios.sdk import Client, sign_action
from p2p_aios.types.compute import JobKind, SubmitJob
from p2p_aios.types.transaction import CheckedTransaction, Transfer
from p2p_aios.types.views import JobState
from p2p_aios.units import AIOS, Address, Amount, Height
from tests.rpc.memory_backend import ALICE, BOB, GENESIS
from tests.rpc.serving import Served, serving


def transfer(backend: Any, nonce: int = 0, amount: int = 5 * AIOS) -> CheckedTransaction:
    action = Transfer(BOB.address, Amount(amount))
    return sign_action(
        ALICE, backend.chain_id, GENESIS.params, action, nonce=nonce, expires=Height(100)
    )


async def submit(served: Served, transaction: CheckedTransaction) -> Any:
    return (await served.call("tx.submit", {"raw": transaction.raw.hex()}))["result"]


def test_every_method_has_a_summary_and_expressible_types() -> None:
    for method in METHODS.values():
        assert method.summary.endswith("."), method.name
        schema.converter(method.parameters)
        assert method.result is JSON or schema.converter(method.result)
    changing = {name for name, method in METHODS.items() if method.changes_state}
    assert changing == {"tx.submit", "job.submit", "learn.submit", "blob.put"}


async def test_transaction_from_submission_to_receipt() -> None:
    async with serving() as served:
        transaction = transfer(served.backend)
        assert await submit(served, transaction) == transaction.id.hex()
        status = (await served.call("tx.get", {"id": transaction.id.hex()}))["result"]
        assert (status["state"], status["receipt"]) == ("pending", None)
        account = (await served.call("account.get", [format_address(ALICE.address)]))["result"]
        assert (account["nonce"], account["next_nonce"]) == (0, 1)
        served.backend.finalize()
        status = (await served.call("tx.get", {"id": transaction.id.hex()}))["result"]
        assert (status["state"], status["height"]) == ("finalized", 1)
        assert status["receipt"]["events"][0]["type"] == "Transferred"
        assert status["transaction"]["body"]["action"]["amount"] == str(5 * AIOS)


async def test_wait_answers_when_final() -> None:
    async with serving() as served:
        transaction = transfer(served.backend)
        await submit(served, transaction)
        answers: list[Any] = []

        async def wait() -> None:
            params = {"id": transaction.id.hex(), "timeout_ms": 10_000}
            answers.append(await served.call("tx.wait", params))

        started = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await trio.sleep(0.1)
            served.backend.finalize()
        assert answers[0]["result"]["state"] == "finalized"
        assert trio.current_time() - started < 5


async def test_wait_ends_with_its_timeout() -> None:
    async with serving() as served:
        transaction = transfer(served.backend)
        await submit(served, transaction)
        params = {"id": transaction.id.hex(), "timeout_ms": 50}
        assert (await served.call("tx.wait", params))["result"]["state"] == "pending"
        unknown = {"id": "00" * 32, "timeout_ms": 50}
        assert await served.refusal("tx.wait", unknown) == (-32000, "unknown_transaction")
        unbounded = {"id": "00" * 32, "timeout_ms": 3_600_000}
        assert await served.refusal("tx.wait", unbounded) == (-32602, "params_invalid")


async def test_refused_transactions_keep_their_codes() -> None:
    async with serving() as served:
        good = transfer(served.backend)
        broken = good.raw[:-1] + bytes((good.raw[-1] ^ 1,))
        for raw, code in [
            (broken.hex(), "signature_invalid"),
            (transfer(served.backend, nonce=7).raw.hex(), "nonce_wrong"),
            ("00", "schema_mismatch"),
            ("ff" * 10, "cbor_malformed"),
        ]:
            assert await served.refusal("tx.submit", {"raw": raw}) == (-32000, code)


async def test_blocks_by_height_hash_and_range() -> None:
    async with serving() as served:
        transaction = transfer(served.backend)
        await submit(served, transaction)
        served.backend.finalize()
        served.backend.finalize()
        last = (await served.call("block.get"))["result"]
        assert last["header"]["height"] == 2
        assert (last["transactions"], last["outcome"]) == (None, None)
        params = {"height": 1, "transactions": True, "outcome": True}
        first = (await served.call("block.get", params))["result"]
        assert first["transaction_ids"] == [transaction.id.hex()]
        assert first["transactions"][0]["body"]["nonce"] == 0
        assert first["outcome"]["receipts"][0]["code"] == "ok"
        assert (await served.call("block.get", {"hash": first["hash"]}))["result"] == {
            **first,
            "transactions": None,
            "outcome": None,
        }
        summaries = (await served.call("block.range", {"first": 1}))["result"]
        assert [each["header"]["height"] for each in summaries] == [1, 2]
        assert [each["transactions"] for each in summaries] == [1, 0]
        assert await served.refusal("block.get", [99]) == (-32000, "unknown_block")
        assert await served.refusal("block.get", {"hash": "00" * 32}) == (-32000, "unknown_block")
        both = {"hash": "00" * 32, "height": 1}
        assert await served.refusal("block.get", both) == (-32602, "params_invalid")
        assert await served.refusal("block.range", [1, 101]) == (-32602, "params_invalid")


async def test_job_submit_takes_jobs_only() -> None:
    async with serving() as served:
        raw = transfer(served.backend).raw.hex()
        assert await served.refusal("job.submit", [raw]) == (-32000, "action_wrong")
        assert await served.refusal("learn.submit", [raw]) == (-32000, "action_wrong")
        job = SubmitJob(JobKind.EVALUATE, (cid_of(b"x"),), b"", Amount(AIOS), 10)
        signed = sign_action(
            ALICE, served.backend.chain_id, GENESIS.params, job, nonce=0, expires=Height(9)
        )
        assert (await served.call("job.submit", [signed.raw.hex()]))["result"] == signed.id.hex()
        assert await served.refusal("job.get", [signed.id.hex()]) == (-32000, "unknown_job")
        served.backend.finalize()
        view = (await served.call("job.get", [signed.id.hex()]))["result"]
        assert view["specification"]["kind"] == "evaluate"
        assert (await served.call("job.list"))["result"] == [view]
        assert (await served.call("job.list", {"after": signed.id.hex()}))["result"] == []


async def test_blobs_inside_json_and_as_bodies() -> None:
    async with serving() as served:
        small, large = b"small", bytes(range(256)) * 4 * 2048
        cid = (await served.call("blob.put", [base64.b64encode(small).decode()]))["result"]
        assert cid == format_cid(cid_of(small))
        assert (await served.call("blob.get", [cid]))["result"] == base64.b64encode(small).decode()
        stored = await served.http.put("/blob", content=large)
        assert stored.json() == {"cid": format_cid(cid_of(large)), "bytes": len(large)}
        assert (await served.http.get(f"/blob/{stored.json()['cid']}")).content == large
        assert (await served.call("blob.has", [stored.json()["cid"]]))["result"] is True
        assert len(large) > SMALL_BLOB_BYTES_MAX
        too_large = await served.refusal("blob.get", [stored.json()["cid"]])
        assert too_large == (-32000, "blob_too_large")
        absent = format_cid(cid_of(b"absent"))
        assert await served.refusal("blob.get", [absent]) == (-32001, "blob_unavailable")
        assert (await served.http.get(f"/blob/{absent}")).status_code == 404
        assert (await served.http.get("/blob/nonsense")).json()["error"]["data"]["code"] == (
            "cid_malformed"
        )
        assert await served.refusal("blob.put", ["%%%"]) == (-32000, "base64_malformed")


async def test_short_listings_have_pages_too() -> None:
    async with serving() as served:
        backend = served.backend
        (worker,) = backend.worker_views.values()
        many = {a: replace(worker, address=a) for a in (Address(bytes((n,)) * 20) for n in (3, 1))}
        backend.worker_views.update(many)
        peers = await backend.peers()
        known = tuple(replace(peers[0], peer_id=f"16Uiu{n}") for n in (3, 1, 2))

        async def listing() -> Any:
            return known

        backend.peers = listing  # type: ignore[method-assign]
        async with Client(served.url) as client:
            ordered = sorted(backend.worker_views)
            first = await client.workers(limit=2)
            rest = await client.workers(after=first[-1].address, limit=2)
            assert [each.address for each in (*first, *rest)] == ordered
            assert await client.workers(after=rest[-1].address) == ()
            (validator,) = await client.validators()
            assert await client.validators(after=validator.address) == ()
            assert [each.peer_id for each in await client.peers("16Uiu1", 1)] == ["16Uiu2"]
        refused = await served.call("worker.list", {"limit": 0})
        assert refused["error"]["data"]["code"] == "params_invalid"


async def test_listings_of_the_past_are_asked_for_by_height() -> None:
    async with serving() as served:
        served.backend.finalize()
        task = {"task": "00" * 32}
        for name, params in [
            ("validator.list", {}),
            ("worker.list", {}),
            ("job.list", {}),
            ("learn.list", {}),
            ("learn.rounds", task),
            ("committee.get", {}),
        ]:
            if name != "learn.rounds":
                assert "result" in await served.call(name, {"height": 1})
            # A node in memory knows the latest state only.
            assert await served.refusal(name, {**params, "height": 0}) == (-32001, "height_pruned")


async def test_closed_jobs_are_listed_apart() -> None:
    async with serving() as served, Client(served.url) as client:
        job = SubmitJob(JobKind.EVALUATE, (cid_of(b"x"),), b"", Amount(AIOS), 10)
        for nonce in range(3):
            signed = sign_action(
                ALICE, served.backend.chain_id, GENESIS.params, job, nonce=nonce, expires=Height(9)
            )
            await served.backend.submit(signed.raw)
        served.backend.finalize()
        views = served.backend.job_views
        over, waiting, delivered = sorted(views)
        views[over] = replace(views[over], state=JobState.REFUNDED, code="no_worker")
        views[delivered] = replace(views[delivered], state=JobState.SETTLED)
        assert [view.id for view in await client.jobs()] == [waiting]
        assert [view.code for view in await client.jobs(is_closed=True)] == ["no_worker", None]
        assert [view.id for view in await client.jobs(over, is_closed=True)] == [delivered]
        past = {"closed": True, "height": 1}
        assert await served.refusal("job.list", past) == (-32602, "params_invalid")
