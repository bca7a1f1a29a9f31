"""`rpc.discover`: the interface described to programs (OpenRPC, §"Service Discovery Method")."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from p2p_aios.rpc.openrpc import describe_interface
from p2p_aios.rpc.registry import JSON, Method, NoParameters, Service, method


def make_discovery(methods: Mapping[str, Method]) -> Method:
    """The method that describes `methods`, which may still grow until the first call."""

    @cache
    def document() -> dict[str, Any]:
        return describe_interface(methods.values())

    @method("rpc.discover", NoParameters, JSON)
    async def discover(_: Service, __: NoParameters) -> dict[str, Any]:
        """Every method, parameter and result of this node, as an OpenRPC document."""
        return document()

    return discover
