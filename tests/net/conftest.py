"""Networks on loopback for the tests in this folder: in this process, or in processes of their
own that a test may kill or stop. Everything is ended with the test that started it."""

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import trio

from p2p_aios.network.config import NetworkConfig
from p2p_aios.network.gossip import GossipMessage, Topic
from p2p_aios.network.identity import peer_id_of
from p2p_aios.network.node import Network, open_network
from p2p_aios.network.pubsub import Verdict
from p2p_aios.units import Hash

CHAIN_ID = Hash(b"\xc5" * 32)
PEER_PROGRAM = Path(__file__).parent / "network_peer.py"


def secret_of(index: int) -> bytes:
    return bytes([index + 1]) * 32


@dataclass
class Loopback:
    """Starts networks and peers; node `index` always has the same identity."""

    processes: list["PeerProcess"] = field(default_factory=list)

    def config(self, index: int, *peers: str, **options: object) -> NetworkConfig:
        options.setdefault("chain_id", CHAIN_ID)
        return NetworkConfig(secret_of(index), peers=peers, **options)  # type: ignore[arg-type]

    def peer_id(self, index: int) -> bytes:
        return peer_id_of(secret_of(index))

    @asynccontextmanager
    async def open_mesh(self, count: int) -> AsyncIterator[list[Network]]:
        """Networks in this process, each connected to every other."""
        async with AsyncExitStack() as stack:
            nodes: list[Network] = []
            for index in range(count):
                addresses = [node.addresses[0] for node in nodes]
                node = await stack.enter_async_context(open_network(self.config(index, *addresses)))
                nodes.append(node)
            await self.until(lambda: all(len(n.peers.connected()) == count - 1 for n in nodes))
            yield nodes

    @asynccontextmanager
    async def open_committee(self, count: int) -> AsyncIterator[list[Network]]:
        """A mesh whose nodes are each other's committee and have joined."""
        async with self.open_mesh(count) as nodes:
            for node in nodes:
                node.committee.set_committee([other.peer for other in nodes])
            for node in nodes:
                for _ in range(count - 1):
                    await node.committee.events.receive()
            yield nodes

    def start_peer(self, index: int, role: str, *arguments: str) -> "PeerProcess":
        process = PeerProcess(index, role, arguments)
        self.processes.append(process)
        return process

    async def until(self, condition: Callable[[], bool], within_s: float = 10.0) -> float:
        """Wait for a condition; how long it took, in seconds."""
        started_s = trio.current_time()
        with trio.fail_after(within_s):
            while not condition():
                await trio.sleep(0.01)
        return trio.current_time() - started_s


class PeerProcess:
    """`network_peer.py` in a process of its own."""

    def __init__(self, index: int, role: str, arguments: tuple[str, ...]) -> None:
        self.peer = peer_id_of(secret_of(index))
        self._popen = subprocess.Popen(
            [sys.executable, str(PEER_PROGRAM), secret_of(index).hex(), role, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.address = self.read_line()

    def read_line(self) -> str:
        assert self._popen.stdout is not None
        line = self._popen.stdout.readline().strip()
        if not line:
            raise AssertionError(f"the peer ended: {self.stop()}")
        return line

    def send_signal(self, number: signal.Signals) -> None:
        self._popen.send_signal(number)

    def stop(self) -> tuple[int, str]:
        """End the process if it runs; its exit status and what it wrote to stderr."""
        self._popen.send_signal(signal.SIGCONT)
        self._popen.kill()
        return self.wait()

    def wait(self) -> tuple[int, str]:
        """Exit status and stderr of a process that ends by itself."""
        _, errors = self._popen.communicate(timeout=20)
        return self._popen.returncode, errors


@pytest.fixture
def loopback() -> Iterator[Loopback]:
    started = Loopback()
    yield started
    for process in started.processes:
        process.stop()


async def accept(message: GossipMessage) -> Verdict:
    """A validator that accepts everything."""
    assert message.topic in Topic
    return Verdict.ACCEPT


@pytest.fixture
def accept_all() -> Callable[[GossipMessage], object]:
    return accept
