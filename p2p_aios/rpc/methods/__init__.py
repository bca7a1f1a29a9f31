"""Every method of the RPC, by family."""

from typing import Final

from p2p_aios.rpc import topics
from p2p_aios.rpc.methods import blob, chain, compute, learning, node, proof, transaction
from p2p_aios.rpc.methods.discovery import make_discovery
from p2p_aios.rpc.registry import Method

_FAMILIES: Final = (node, chain, transaction, compute, learning, blob, proof, topics)

METHODS: Final[dict[str, Method]] = {
    method.name: method for family in _FAMILIES for method in family.METHODS
}
METHODS["rpc.discover"] = make_discovery(METHODS)
