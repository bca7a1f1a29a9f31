"""Calls that follow the chain as it grows.

Blocks, events and receipts outlive the node that tells of them: see `sdk.subscription`. What a node
tells its followers is never proven, even where checking.
"""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from p2p_aios.crypto.keys import address_of
from p2p_aios.errors import Unavailable
from p2p_aios.sdk.answers import hex_of, read_answer
from p2p_aios.sdk.asking import Asking
from p2p_aios.sdk.socket import NodeSocket
from p2p_aios.sdk.subscription import Notifications, Topic, open_subscription
from p2p_aios.types.notices import (
    is_about,
    list_events,
    list_receipts,
    make_filter,
    parse_subject,
)
from p2p_aios.types.receipt import BlockOutcome, receipts_root
from p2p_aios.types.views import (
    BlockSummary,
    BlockView,
    EventNotice,
    ReceiptNotice,
    RoundView,
)
from p2p_aios.units import Hash

NOTHING_DONE = receipts_root((), ())
"""`receipts_root` of a block without transactions and events."""


class SubscriptionCalls(Asking):
    """`subscribe`, each topic by its name.

    All raise Unavailable while iterating: `subscriber_slow` where the program does not keep up,
    `node_unreachable` and `subscription_lost` where no node is left, `subscription_gap` after more
    than a day without one.
    """

    def subscribe_blocks(self) -> AbstractAsyncContextManager[Notifications[BlockSummary]]:
        """Each block as it is finalized, each once and none left out."""

        async def past(_: NodeSocket, summary: BlockSummary) -> Sequence[BlockSummary]:
            return (summary,)

        topic = Topic({"topic": "blocks"}, BlockSummary, lambda notice: notice.header.height, past)
        return open_subscription(self._nodes, self._token, topic)

    def subscribe_events(
        self, kinds: Sequence[str] = (), subject: str | None = None
    ) -> AbstractAsyncContextManager[Notifications[EventNotice]]:
        """Events of finalized blocks: of these kinds, naming this address or hex id, or all; each
        once and none left out."""

        async def past(socket: NodeSocket, summary: BlockSummary) -> Sequence[EventNotice]:
            if summary.header.receipts_root == NOTHING_DONE:
                return ()
            wanted = make_filter(kinds, subject)
            view, outcome = await _read_block(socket, summary)
            return [n for n in list_events(view.header, outcome) if wanted.passes(n.event)]

        params = {"topic": "events", "kinds": list(kinds), "subject": subject}
        topic = Topic(params, EventNotice, lambda notice: notice.height, past)
        return open_subscription(self._nodes, self._token, topic)

    def subscribe_receipts(
        self, subject: str | None = None
    ) -> AbstractAsyncContextManager[Notifications[ReceiptNotice]]:
        """Receipts of the transaction with this hex id, of this address, or all; each once and none
        left out."""

        async def past(socket: NodeSocket, summary: BlockSummary) -> Sequence[ReceiptNotice]:
            if summary.transactions == 0:
                return ()
            wanted = None if subject is None else parse_subject(subject)
            view, outcome = await _read_block(socket, summary)
            senders = [address_of(each.body.sender) for each in view.transactions or ()]
            notices = list_receipts(view.header, senders, outcome)
            return [n for n in notices if wanted is None or is_about(n, wanted)]

        params = {"topic": "receipts", "subject": subject}
        topic = Topic(params, ReceiptNotice, lambda notice: notice.height, past)
        return open_subscription(self._nodes, self._token, topic)

    def subscribe_rounds(
        self, task: Hash | None = None
    ) -> AbstractAsyncContextManager[Notifications[RoundView]]:
        """A learning round whenever it moved: of this task, or of all.

        It shows how rounds stand, not what blocks did, so nothing can be made up for: it ends with
        its node, by Unavailable(`subscription_lost`). Ask `rounds`, and follow again.
        """
        params = {"topic": "rounds", "subject": hex_of(task)}
        topic = Topic(params, RoundView, lambda notice: notice.opened, None)
        return open_subscription(self._nodes, self._token, topic)


async def _read_block(socket: NodeSocket, summary: BlockSummary) -> tuple[BlockView, BlockOutcome]:
    extent = {"height": summary.header.height, "transactions": True, "outcome": True}
    view: BlockView = read_answer(BlockView, await socket.call("block.get", extent))
    if view.outcome is None or view.transactions is None or view.hash != summary.hash:
        raise Unavailable("answer_malformed", "another block than was asked for")
    return view, view.outcome
