"""A node, as a Python program sees it.

    async with Client("http://127.0.0.1:8645") as client:
        status = await client.send_and_wait(key, Transfer(bob, parse_amount("12.5")))
        async with client.subscribe_blocks() as blocks:
            async for block in blocks:
                print(block.header.height)

Name several nodes, and a question that one leaves open goes to the next. Name what to trust as
`checked` (the genesis, or a committee), and what the state holds is proven, whoever answers; the
docstring of each call says what that leaves out.

Refusals arrive as the Invalid or Unavailable that the node raised, with the same code; a node that
does not answer is Unavailable(`node_unreachable`).
"""

import trio

from p2p_aios.sdk.blobs import BlobCalls
from p2p_aios.sdk.following import SubscriptionCalls
from p2p_aios.sdk.transactions import TransactionCalls, require_success
from p2p_aios.sdk.work import WorkCalls

__all__ = ["Client", "require_success"]


class Client(TransactionCalls, WorkCalls, BlobCalls, SubscriptionCalls):
    """The RPC of a node, or of several of one chain, typed."""

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await self._nodes.aclose()
