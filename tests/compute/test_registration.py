"""A contributor registers through a node's real RPC."""

from dataclasses import replace
from pathlib import Path

import pytest
import trio

from compute import registration
from compute.agent import Agent, Policy
from compute.local_data import LocalData
from compute.registration import Offer, register
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid
from p2p_aios.sdk.client import Client
from p2p_aios.types.compute import JobKind, RegisterWorker
from p2p_aios.types.genesis import chain_id
from p2p_aios.units import AIOS, Amount
from tests.rpc.memory_backend import ALICE, BOB, GENESIS, VALIDATOR, MemoryBackend
from tests.rpc.serving import serving

POLICY = Policy(chain_id(GENESIS), Amount(AIOS), (JobKind.TRAIN,))


def agent_of(key: KeyPair, folder: Path, data: LocalData, policy: Policy = POLICY) -> Agent:
    return Agent(key, policy, data, folder)


async def finalize_soon(backend: MemoryBackend) -> None:
    while not backend.waiting:
        await trio.sleep(0.01)
    backend.finalize()


async def test_the_offer_reaches_the_chain_with_the_least_fee(
    tmp_path: Path, tiny_data: LocalData
) -> None:
    agent = agent_of(ALICE, tmp_path, tiny_data)
    async with (
        serving() as served,
        Client(served.url) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(finalize_soon, served.backend)
        with trio.fail_after(20):
            await register(agent, client, Offer(home=None, capacity=3))
    (status,) = served.backend.final.values()
    body = status.transaction.body
    assert body.action == RegisterWorker(VALIDATOR.address, 3, (JobKind.TRAIN,))
    params = GENESIS.params
    assert params.fee_base <= body.fee <= params.fee_base + 1000 * params.fee_per_byte


async def test_a_listed_offer_is_left_alone(tmp_path: Path, tiny_data: LocalData) -> None:
    async with serving() as served, Client(served.url) as client:
        with trio.fail_after(20):
            await register(agent_of(BOB, tmp_path, tiny_data), client, Offer(None, capacity=2))
        assert not served.backend.waiting


async def test_a_fee_beyond_the_owners_limit_is_final(tmp_path: Path, tiny_data: LocalData) -> None:
    stingy = replace(POLICY, fee_max=Amount(1))
    async with serving() as served, Client(served.url) as client:
        with pytest.raises(Invalid) as caught, trio.fail_after(20):
            await register(agent_of(ALICE, tmp_path, tiny_data, stingy), client, Offer(None, 1))
        assert caught.value.code == "fee_over_limit"


async def test_an_absent_node_is_asked_again(
    tmp_path: Path, tiny_data: LocalData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "RETRY_S", 0.01)
    async with Client("http://127.0.0.1:1") as client:
        with trio.move_on_after(0.5) as waited:
            await register(agent_of(ALICE, tmp_path, tiny_data), client, Offer(None, 1))
        assert waited.cancelled_caught
