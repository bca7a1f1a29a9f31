"""What a contributor settles when it first joins."""

from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import trio

from compute.enrolment import LOOPBACK_FIRST, PIN, address_towards, settle_chain
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.rpc.config import RpcConfig
from p2p_aios.rpc.server import serve_rpc
from p2p_aios.units import Address, Hash
from tests.rpc.memory_backend import MemoryBackend

OTHER = Hash(b"\xcd" * 32)


async def serve(backend: MemoryBackend, nursery: trio.Nursery) -> str:
    async def start(task_status: Any) -> None:
        await serve_rpc(backend, backend.feed, RpcConfig(port=0), task_status=task_status)

    url: str = await nursery.start(start)
    return url


async def test_the_first_node_names_the_chain_and_no_later_one_another(tmp_path: Path) -> None:
    backend = MemoryBackend()
    async with trio.open_nursery() as nursery:
        url = await serve(backend, nursery)
        assert await settle_chain(tmp_path, None, url, None) == backend.chain_id
        assert (tmp_path / PIN).read_text() == f"{backend.chain_id.hex()}\n"
        assert await settle_chain(tmp_path, backend.chain_id, url, None) == backend.chain_id
        for named in (None, OTHER):
            (tmp_path / PIN).write_text(OTHER.hex())
            with pytest.raises(Invalid) as refusal:
                await settle_chain(tmp_path, named, url, None)
            assert refusal.value.code == "chain_differs"
        nursery.cancel_scope.cancel()


async def test_a_known_chain_needs_no_node(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as refusal:
        await settle_chain(tmp_path, None, "http://127.0.0.1:9", None)
    assert refusal.value.code == "node_unreachable"
    assert not (tmp_path / PIN).exists()
    assert await settle_chain(tmp_path, OTHER, "http://127.0.0.1:9", None) == OTHER
    assert await settle_chain(tmp_path, None, None, None) == OTHER
    with pytest.raises(Unavailable) as refusal:
        await settle_chain(tmp_path / "absent", OTHER, None, None)
    assert refusal.value.code == "folder_unwritable"


def test_a_worker_beside_its_head_takes_a_loopback_address_of_its_own() -> None:
    ada, bob = Address(b"\x01" * 20), Address(b"\x02" * 20)
    place = address_towards("127.8.9.2:6379", ada)
    assert place == address_towards("127.8.9.3:26379", ada)
    assert place != address_towards("127.8.9.2:6379", bob)
    first, last = ip_address(f"127.8.9.{LOOPBACK_FIRST}"), ip_address("127.8.9.254")
    for number in range(300):
        contributor = Address(number.to_bytes(20, "big"))
        assert first <= ip_address(address_towards("127.8.9.2:1", contributor)) <= last
    with pytest.raises(Unavailable) as refusal:
        address_towards("no.such.host.invalid:1", ada)
    assert refusal.value.code == "head_unreachable"
