"""The client against the real server."""

import json

import pytest
import trio

from p2p_aios.codec.cid import cid_of
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.config import RpcConfig
from p2p_aios.rpc.feed import Feed
from p2p_aios.rpc.methods import METHODS
from p2p_aios.sdk import Client, sign_action, socket, transport
from p2p_aios.sdk.transport import Transport, fault_of
from p2p_aios.types.compute import JobKind, SubmitJob
from p2p_aios.types.event import Transferred
from p2p_aios.types.learning import (
    Activation,
    ModelKind,
    ModelSpec,
    Rule,
    SubmitTask,
    TrainingPlan,
)
from p2p_aios.types.transaction import Transfer
from p2p_aios.types.views import Phase, TransactionState
from p2p_aios.units import AIOS, Amount, Height
from tests.rpc.memory_backend import ALICE, BOB, FUNDS, GENESIS, MemoryBackend
from tests.rpc.serving import serving

GIFT = Transfer(BOB.address, Amount(AIOS))
TASK = SubmitTask(
    ModelSpec(ModelKind.MLP, (64, 64, 10), Activation.RELU),
    cid_of(b"base"),
    TrainingPlan(1, 32, 10**8),
    Rule.MEAN,
    cid_of(b"shard"),
    1 << 27,
    3,
    4,
    1,
    10,
    10,
    10,
    Amount(100 * AIOS),
    Amount(AIOS),
)


async def finalize_soon(backend: MemoryBackend) -> None:
    while not backend.waiting:
        await trio.sleep(0.01)
    backend.finalize()


async def test_every_rpc_method_is_used_by_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    call, batch = Transport.call, Transport.batch

    async def spy_call(self: Transport, method: str, params: dict[str, object]) -> object:
        asked.add(method)
        return await call(self, method, params)

    monkeypatch.setattr(Transport, "call", spy_call)
    async with serving() as served, Client(served.url) as client:
        backend = served.backend
        assert (await client.status()).network == "memory"
        assert (await client.peers())[0].is_inbound
        assert (await client.chain()) == (backend.chain_id, GENESIS)
        task_id = await client.submit_task(await signed(backend, TASK, 0))
        job = SubmitJob(JobKind.TRAIN, (), b"", Amount(1), 5)
        job_id = await client.submit_job(await signed(backend, job, 1))
        raw = await signed(backend, GIFT, 2)
        gift_id = await client.submit(raw)
        assert (await client.transaction(gift_id)).state is TransactionState.PENDING
        backend.finalize()
        backend.settle_round(task_id, 0)
        assert (await client.wait(gift_id)).receipt is not None
        block = await client.block(Height(1), has_transactions=True, has_outcome=True)
        assert block.transaction_ids == (task_id, job_id, gift_id)
        assert (await client.block(block.hash)).header == block.header
        assert (await client.blocks(Height(1)))[0].hash == block.hash
        assert (await client.account(ALICE.address)).nonce == 3
        assert (await client.validators())[0].seat == 0
        assert len((await client.committee()).members) == 1
        assert (await client.supply()).is_balanced
        assert (await client.workers())[0].kinds == (JobKind.TRAIN,)
        assert (await client.job(job_id)).specification == job
        assert [view.id for view in await client.jobs()] == [job_id]
        assert (await client.task(task_id)).specification == TASK
        assert [view.id for view in await client.tasks()] == [task_id]
        assert (await client.round(task_id, 0)).phase is Phase.SETTLED
        assert len(await client.rounds(task_id)) == 1
        assert not await client.has_blob(cid_of(b"none"))
        assert (await client.discover())["openrpc"].startswith("1.3")
    # Blobs go as plain HTTP bodies instead, subscriptions over WebSocket.
    # Proofs need a chain: test_light.
    elsewhere = {"blob.put", "blob.get", "subscribe", "unsubscribe", "state.proof", "block.proof"}
    assert set(METHODS) - asked == elsewhere
    assert batch is Transport.batch


async def signed(backend: MemoryBackend, action: object, nonce: int) -> bytes:
    return sign_action(
        ALICE, backend.chain_id, GENESIS.params, action, nonce=nonce, expires=Height(50)
    ).raw


async def test_send_and_wait_moves_money() -> None:
    async with serving() as served, Client(served.url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(finalize_soon, served.backend)
        status = await client.send_and_wait(ALICE, GIFT)
        assert status.receipt is not None
        fee = status.receipt.fee
        assert (await client.account(BOB.address)).balance == AIOS
        assert (await client.account(ALICE.address)).balance == FUNDS - AIOS - fee


async def test_failed_action_raises_the_receipts_code() -> None:
    async with serving() as served, Client(served.url) as client, trio.open_nursery() as nursery:
        nursery.start_soon(finalize_soon, served.backend)
        with pytest.raises(Invalid) as caught:
            await client.send_and_wait(ALICE, Transfer(BOB.address, Amount(FUNDS * 2)))
        assert caught.value.code == "funds_missing"


async def test_default_fee_is_exactly_the_least() -> None:
    backend = MemoryBackend()
    for nonce in (0, 23, 24, 255, 256, 65_536):
        for amount in (0, 1, 10**6, 2**63):
            action = Transfer(BOB.address, Amount(amount))
            made = sign_action(
                ALICE, backend.chain_id, GENESIS.params, action, nonce=nonce, expires=Height(9)
            )
            params = GENESIS.params
            assert made.body.fee == params.fee_base + params.fee_per_byte * len(made.raw)


async def test_pipelined_sends_leave_no_gap() -> None:
    async with serving() as served, Client(served.url) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(client.send, ALICE, GIFT)
        assert [each.body.nonce for each in served.backend.waiting] == list(range(30))
        ids = await client.sender(ALICE).send_all([GIFT] * 20)
        assert [each.id for each in served.backend.waiting[30:]] == ids
        block = served.backend.finalize()
        assert len(block.block.transactions) == 50
        assert (await client.account(BOB.address)).balance == 50 * AIOS


async def test_sender_recovers_after_a_refusal() -> None:
    async with serving() as served, Client(served.url) as client:
        await client.send(ALICE, GIFT)
        with pytest.raises(Invalid) as caught:
            await client.send(ALICE, GIFT, fee=Amount(1))
        assert caught.value.code == "fee_too_low"
        await client.send(ALICE, GIFT)
        # Another program used the account meanwhile.
        other = sign_action(
            ALICE, served.backend.chain_id, GENESIS.params, GIFT, nonce=2, expires=Height(50)
        )
        await served.backend.submit(other.raw)
        with pytest.raises(Invalid):
            await client.sender(ALICE).send_all([GIFT, GIFT])
        await client.send(ALICE, GIFT)
        nonces = [each.body.nonce for each in served.backend.waiting]
        assert nonces == list(range(len(nonces)))


async def test_refusals_keep_code_kind_and_sentence() -> None:
    async with serving() as served, Client(served.url) as client:
        with pytest.raises(Invalid, match="no learning task") as invalid:
            await client.task(GIFT_ID)
        assert invalid.value.code == "unknown_task"
        with pytest.raises(Unavailable) as unavailable:
            await client.get_blob(cid_of(b"none"))
        assert unavailable.value.code == "blob_unavailable"


GIFT_ID = cid_of(b"")[4:]


async def test_blobs_are_checked_against_their_cid() -> None:
    async with serving() as served, Client(served.url) as client:
        data = bytes(3 << 20)
        cid = await client.put_blob(data)
        assert await client.get_blob(cid) == data
        with pytest.raises(Invalid) as large:
            await client.get_blob(cid, bytes_max=1000)
        assert large.value.code == "answer_too_large"
        served.backend.blobs[cid] = b"another"
        with pytest.raises(Invalid) as caught:
            await client.get_blob(cid)
        assert caught.value.code == "blob_mismatch"


async def test_wait_gives_up_after_its_time() -> None:
    async with serving() as served, Client(served.url) as client:
        id = await client.send(ALICE, GIFT)
        with pytest.raises(Unavailable) as caught:
            await client.wait(id, timeout_s=0.1)
        assert caught.value.code == "transaction_pending"


async def test_subscriptions() -> None:
    async with serving() as served, Client(served.url) as client:
        async with (
            client.subscribe_blocks() as blocks,
            client.subscribe_events(["Transferred"], format_address(BOB.address)) as events,
        ):
            id = await client.send(ALICE, GIFT)
            served.backend.finalize()
            async for block in blocks:
                assert (block.header.height, block.transactions) == (1, 1)
                break
            async for notice in events:
                assert notice.transaction == id
                assert notice.event == Transferred(ALICE.address, BOB.address, Amount(AIOS))
                break
        with pytest.raises(Invalid) as caught:
            async with client.subscribe_events(["Nonsense"]):
                pass
        assert caught.value.code == "unknown_event_kind"


async def test_slow_subscriber_is_told() -> None:
    backend = MemoryBackend()
    backend.feed = Feed(queue_blocks_max=2)
    async with serving(backend=backend) as served, Client(served.url) as client:
        async with client.subscribe_blocks() as blocks:
            for _ in range(5):
                backend.finalize()
            with pytest.raises(Unavailable) as caught:
                await anext(blocks)
        assert caught.value.code == "subscriber_slow"


async def test_errors_of_the_body_are_not_wrapped() -> None:
    async with serving() as served, Client(served.url) as client:
        with pytest.raises(Invalid) as caught:
            async with client.subscribe_blocks():
                raise Invalid("mine", "my own")
        assert caught.value.code == "mine"


async def test_node_that_does_not_answer() -> None:
    async with Client("http://127.0.0.1:9") as client:
        with pytest.raises(Unavailable, match="is the node running") as caught:
            await client.status()
        assert caught.value.code == "node_unreachable"
        with pytest.raises(Unavailable) as caught:
            async with client.subscribe_blocks():
                pass
        assert caught.value.code == "node_unreachable"


async def test_a_mute_port_is_given_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    assert transport.GREETING_S_MAX < transport.ANSWER_S_MAX / 5
    monkeypatch.setattr(transport, "GREETING_S_MAX", 0.2)
    monkeypatch.setattr(socket, "CONNECT_S_MAX", 0.2)
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with listener, Client(f"http://127.0.0.1:{port}", tries=1) as client:
        with pytest.raises(Unavailable, match="says nothing") as caught, trio.fail_after(20):
            await client.status()
        assert caught.value.code == "node_unreachable"
        with pytest.raises(Unavailable) as caught, trio.fail_after(20):
            async with client.subscribe_blocks():
                pass
        assert caught.value.code == "node_unreachable"


def test_a_url_that_is_none() -> None:
    with pytest.raises(Invalid) as caught:
        Client(["http://127.0.0.1:9", "127.0.0.1:9"])
    assert caught.value.code == "url_malformed"


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b'{"result":{"x":1}}', b'"text"'])
async def test_something_else_on_the_port(answer: bytes) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some(65_536)
        head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(answer)}\r\nconnection: close\r\n\r\n"
        await stream.send_all(head.encode() + answer)
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        async with Client(f"http://127.0.0.1:{port}") as client:
            with pytest.raises(Unavailable) as caught:
                await client.supply()
        assert caught.value.code == "answer_malformed"
        nursery.cancel_scope.cancel()


async def test_token_is_sent() -> None:
    token = "sixteen characters"
    async with serving(RpcConfig(port=0, token=token)) as served:
        async with Client(served.url) as stranger:
            with pytest.raises(Invalid) as caught:
                await stranger.send(ALICE, GIFT)
            assert caught.value.code == "unauthorized"
        async with Client(served.url, token) as client, client.subscribe_blocks():
            await client.send(ALICE, GIFT)


def test_unknown_error_shapes_are_the_nodes_fault() -> None:
    for error in (None, 7, {}, {"data": 3}, {"data": {"kind": "odd"}}, json.loads("[1]")):
        assert fault_of(error).code == "answer_malformed"
