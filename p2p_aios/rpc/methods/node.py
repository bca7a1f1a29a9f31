"""`node.*`: the node itself."""

from typing import Final

from p2p_aios.rpc.registry import NoParameters, Service, method
from p2p_aios.types.views import NodeStatus, Peers, PeerView


@method("node.status", NoParameters, NodeStatus)
async def status(service: Service, _: NoParameters) -> NodeStatus:
    """Chain, height, consensus position, peers and compute gateway of this node."""
    return await service.backend.status()


@method("node.peers", NoParameters, Peers)
async def peers(service: Service, _: NoParameters) -> tuple[PeerView, ...]:
    """Peers this node is connected to."""
    return await service.backend.peers()


METHODS: Final = (status, peers)
