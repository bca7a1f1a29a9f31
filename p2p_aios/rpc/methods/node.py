"""`node.*`: the node itself."""

from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.limits import Range, Size
from p2p_aios.rpc.registry import NoParameters, Service, method
from p2p_aios.types.views import LISTING_MAX, NodeStatus, Peers, PeerView


@method("node.status", NoParameters, NodeStatus)
async def status(service: Service, _: NoParameters) -> NodeStatus:
    """Chain, height, consensus position, peers and compute gateway of this node."""
    return await service.backend.status()


@dataclass(frozen=True, slots=True)
class ListPeers:
    after: Annotated[str, Size(1, 128)] | None = None
    """Last peer id of the page before."""
    limit: Annotated[int, Range(1, LISTING_MAX)] = LISTING_MAX


@method("node.peers", ListPeers, Peers)
async def peers(service: Service, asked: ListPeers) -> tuple[PeerView, ...]:
    """Peers this node is connected to, by peer id."""
    found = sorted(await service.backend.peers(), key=lambda view: view.peer_id)
    later = [view for view in found if asked.after is None or view.peer_id > asked.after]
    return tuple(later[: asked.limit])


METHODS: Final = (status, peers)
