"""The real backend on a chain without a network: what it reads is real, what it sends waits."""

from types import SimpleNamespace
from typing import Any

from p2p_aios.mempool.mempool import Mempool
from p2p_aios.node.backend import NodeBackend
from p2p_aios.node.chain import Chain
from p2p_aios.rpc.feed import Feed


class ChainBackend(NodeBackend):
    """A NodeBackend whose node has a chain and a mempool, and nothing else."""

    def __init__(self, chain: Chain) -> None:
        parts: Any = SimpleNamespace(
            chain=chain,
            transactions=SimpleNamespace(mempool=Mempool()),
            key=None,
            voting=None,
            gateway=None,
            catchup=SimpleNamespace(is_behind=False),
            network=SimpleNamespace(peers=SimpleNamespace(connected=tuple)),
        )
        super().__init__(parts)
        self.feed = Feed()
