"""A node, as a Python program sees it.

    async with Client("http://127.0.0.1:8645") as client:
        status = await client.send_and_wait(key, Transfer(bob, parse_amount("12.5")))
        async with client.subscribe_blocks() as blocks:
            async for block in blocks:
                print(block.header.height)

Name several nodes, and a question that one leaves open goes to the next. Name what to trust as
`checked` (the genesis, or a committee), and accounts and `record` are proven, whoever answers.

Refusals arrive as the Invalid or Unavailable that the node raised, with the same code; a node that
does not answer is Unavailable(`node_unreachable`).
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeVar

import trio

from p2p_aios.codec import schema
from p2p_aios.codec.cid import cid_of, format_cid, matches
from p2p_aios.crypto.keys import KeyPair, format_address
from p2p_aios.errors import AiosError, Invalid, Unavailable
from p2p_aios.ledger.records import Account
from p2p_aios.ledger.tables import ACCOUNTS, Record, Table
from p2p_aios.sdk.failover import TRIES, Nodes
from p2p_aios.sdk.light import LightClient, checked_anywhere
from p2p_aios.sdk.proofs import Trusted, trust_genesis
from p2p_aios.sdk.sender import Sender
from p2p_aios.sdk.subscription import Notifications, open_subscription
from p2p_aios.types.block import Header
from p2p_aios.types.committee import Committee
from p2p_aios.types.genesis import Genesis, chain_id
from p2p_aios.types.proof import FinalityProof, StateProof
from p2p_aios.types.receipt import SUCCESS
from p2p_aios.types.transaction import Action
from p2p_aios.types.views import (
    LISTING_MAX,
    PAGE_MAX,
    AccountView,
    BlobView,
    BlockSummaries,
    BlockSummary,
    BlockView,
    EventNotice,
    Jobs,
    JobView,
    NodeStatus,
    Peers,
    PeerView,
    ReceiptNotice,
    Rounds,
    RoundView,
    SupplyView,
    Tasks,
    TaskView,
    TransactionState,
    TransactionStatus,
    Validators,
    ValidatorView,
    Workers,
    WorkerView,
)
from p2p_aios.units import Address, Amount, Cid, Hash, Height

BLOB_BYTES_MAX: Final = 64 << 20
WAIT_S_MAX: Final = 15
"""Longest single `tx.wait`; longer waits ask again."""
SENDERS_MAX: Final = 1024
"""Accounts whose nonces are remembered."""

T = TypeVar("T")


class Client:
    """The RPC of a node, or of several of one chain, typed."""

    def __init__(
        self,
        url: str | Sequence[str],
        token: str | None = None,
        *,
        checked: Genesis | Trusted | None = None,
        tries: int = TRIES,
    ) -> None:
        """`tries` is how often each node is asked before giving up.

        Raises Invalid(`nodes_malformed`), and as `trust_genesis`.
        """
        self._token = token
        self._transport = Nodes([url] if isinstance(url, str) else url, token, tries)
        self._chain: tuple[Hash, Genesis] | None = None
        self._senders: dict[Address, Sender] = {}
        trusted = trust_genesis(checked) if isinstance(checked, Genesis) else checked
        self._light = None if trusted is None else LightClient(self, trusted)

    async def __aenter__(self) -> "Client":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        with trio.CancelScope(shield=True):
            await self._transport.aclose()

    async def request(self, method: str, result: Any, **params: Any) -> Any:
        """Call any method; `params` are JSON values, `result` is the annotation of the answer."""
        return _read(result, await self._transport.call(method, params))

    async def discover(self) -> dict[str, Any]:
        """The node's interface as an OpenRPC document."""
        document = await self._transport.call("rpc.discover", {})
        if not isinstance(document, dict):
            raise Unavailable("answer_malformed", "an OpenRPC document is an object")
        return document

    async def status(self) -> NodeStatus:
        """Chain, height, consensus position, peers and compute gateway."""
        return await self._ask(NodeStatus, "node.status")

    async def peers(
        self, after: str | None = None, limit: int = LISTING_MAX
    ) -> tuple[PeerView, ...]:
        return await self._list(PeerView, Peers, "node.peers", after=after, limit=limit)

    async def chain(self) -> tuple[Hash, Genesis]:
        """Chain id and genesis, asked for once.

        Raises Invalid(`genesis_wrong`) where they do not belong together.
        """
        if self._chain is None:
            genesis = await self._ask(Genesis, "chain.genesis")
            status = await self.status()
            if chain_id(genesis) != status.chain_id:
                raise Invalid("genesis_wrong", "the node's genesis is not that of its chain")
            if self._light is not None and status.chain_id != self._light.trusted.chain_id:
                raise Invalid("genesis_wrong", "the node is of another chain than the trusted one")
            self._chain = status.chain_id, genesis
        return self._chain

    async def block(
        self,
        at: Height | Hash | None = None,
        *,
        has_transactions: bool = False,
        has_outcome: bool = False,
    ) -> BlockView:
        """A finalized block by height or hash, or the last one."""
        where = {"hash": at.hex()} if isinstance(at, bytes) else {"height": at}
        extent = {"transactions": has_transactions, "outcome": has_outcome}
        return await self._ask(BlockView, "block.get", **where, **extent)

    async def blocks(self, first: Height, count: int = PAGE_MAX) -> tuple[BlockSummary, ...]:
        """Consecutive finalized blocks, without bodies."""
        return await self._list(
            BlockSummary, BlockSummaries, "block.range", first=first, count=count
        )

    async def account(self, address: Address, height: Height | None = None) -> AccountView:
        """Now, or after an earlier block. Where checking: balance, nonce and height are proven,
        `next_nonce` remains what the node says of its own mempool."""
        view = await self._ask(
            AccountView, "account.get", address=format_address(address), height=height
        )
        if self._light is None:
            return view
        proven = await self._proven(self._light, ACCOUNTS, address, height)
        account, header = proven[0] or Account(Amount(0), 0), proven[1]
        following = max(view.next_nonce, account.nonce)
        return AccountView(address, account.balance, account.nonce, following, header.height)

    async def record(
        self, table: Table[Record], key: bytes = b"", height: Height | None = None
    ) -> Record | None:
        """A record of the state, proven; None where it is proven that there is none.

        Tables and their keys: `ledger.tables`. Raises Invalid(`nothing_trusted`) where this client
        was not told what to trust, and with what is wrong in a proof.
        """
        if self._light is None:
            raise Invalid("nothing_trusted", "open the client with checked=genesis or a committee")
        return (await self._proven(self._light, table, key, height))[0]

    async def prove_state(self, key: bytes, height: Height | None = None) -> StateProof:
        """As the node gives it: see `sdk.proofs` for checking it."""
        return await self._ask(StateProof, "state.proof", key=key.hex(), height=height)

    async def prove_block(self, height: Height | None = None) -> FinalityProof:
        """As the node gives it."""
        return await self._ask(FinalityProof, "block.proof", height=height)

    async def validators(
        self, after: Address | None = None, limit: int = LISTING_MAX
    ) -> tuple[ValidatorView, ...]:
        page = {"after": _named(after), "limit": limit}
        return await self._list(ValidatorView, Validators, "validator.list", **page)

    async def committee(self, epoch: int | None = None) -> Committee:
        """Voters of an epoch, by default of the current one."""
        return await self._ask(Committee, "committee.get", epoch=epoch)

    async def supply(self, height: Height | None = None) -> SupplyView:
        return await self._ask(SupplyView, "supply.get", height=height)

    async def submit(self, raw: bytes) -> Hash:
        """Submit an encoded transaction; its id."""
        return await self._id("tx.submit", raw=raw.hex())

    async def submit_all(self, raws: Sequence[bytes]) -> list[Hash | AiosError]:
        """Submit in one batch, in order; a refused one's place holds why."""
        results = await self._transport.batch([("tx.submit", {"raw": raw.hex()}) for raw in raws])
        return [each if isinstance(each, AiosError) else _read(Hash, each) for each in results]

    async def transaction(self, id: Hash) -> TransactionStatus:
        return await self._ask(TransactionStatus, "tx.get", id=id.hex())

    async def wait(self, id: Hash, timeout_s: float = 30) -> TransactionStatus:
        """Until the transaction is final; raises Unavailable(`transaction_pending`)."""
        deadline = trio.current_time() + timeout_s
        while True:
            left_s = max(0.0, min(WAIT_S_MAX, deadline - trio.current_time()))
            timeout_ms = int(left_s * 1000)
            status = await self._ask(
                TransactionStatus, "tx.wait", id=id.hex(), timeout_ms=timeout_ms
            )
            if status.state is TransactionState.FINALIZED:
                return status
            if trio.current_time() >= deadline:
                raise Unavailable(
                    "transaction_pending",
                    f"{id.hex()} is not final after {timeout_s:g} s; it may still become so",
                )

    async def send(self, key: KeyPair, action: Action, *, fee: Amount | None = None) -> Hash:
        """Sign and submit an action of `key`'s account; the transaction's id."""
        return await self.sender(key).send(action, fee=fee)

    async def send_and_wait(
        self, key: KeyPair, action: Action, *, fee: Amount | None = None, timeout_s: float = 30
    ) -> TransactionStatus:
        """Send and wait until final; raises Invalid with the receipt's code where it failed."""
        status = await self.wait(await self.send(key, action, fee=fee), timeout_s)
        require_success(status)
        return status

    def sender(self, key: KeyPair) -> Sender:
        """The one that counts the nonces of `key`'s account."""
        if len(self._senders) >= SENDERS_MAX:
            self._senders.pop(next(iter(self._senders)))
        return self._senders.setdefault(key.address, Sender(self, key))

    async def workers(
        self, after: Address | None = None, limit: int = LISTING_MAX
    ) -> tuple[WorkerView, ...]:
        page = {"after": _named(after), "limit": limit}
        return await self._list(WorkerView, Workers, "worker.list", **page)

    async def submit_job(self, raw: bytes) -> Hash:
        """Submit a transaction that carries SubmitJob; the job's id."""
        return await self._id("job.submit", raw=raw.hex())

    async def job(self, id: Hash, height: Height | None = None) -> JobView:
        return await self._ask(JobView, "job.get", id=id.hex(), height=height)

    async def jobs(self, after: Hash | None = None, limit: int = PAGE_MAX) -> tuple[JobView, ...]:
        return await self._list(JobView, Jobs, "job.list", after=_hex(after), limit=limit)

    async def submit_task(self, raw: bytes) -> Hash:
        """Submit a transaction that carries SubmitTask; the task's id."""
        return await self._id("learn.submit", raw=raw.hex())

    async def task(self, id: Hash, height: Height | None = None) -> TaskView:
        return await self._ask(TaskView, "learn.get", id=id.hex(), height=height)

    async def tasks(self, after: Hash | None = None, limit: int = PAGE_MAX) -> tuple[TaskView, ...]:
        return await self._list(TaskView, Tasks, "learn.list", after=_hex(after), limit=limit)

    async def round(self, task: Hash, round: int, height: Height | None = None) -> RoundView:
        asked = {"task": task.hex(), "round": round, "height": height}
        return await self._ask(RoundView, "learn.round", **asked)

    async def rounds(
        self, task: Hash, first: int = 0, limit: int = PAGE_MAX
    ) -> tuple[RoundView, ...]:
        asked = {"task": task.hex(), "first": first, "limit": limit}
        return await self._list(RoundView, Rounds, "learn.rounds", **asked)

    async def put_blob(self, data: bytes) -> Cid:
        """Store a blob of up to 64 MiB; raises Invalid(`blob_mismatch`) if the node garbles it."""
        view = _read(BlobView, await self._transport.put_blob(data))
        expected = cid_of(data)
        if view.cid != expected:
            raise Invalid("blob_mismatch", f"the node names {format_cid(expected)} differently")
        return expected

    async def get_blob(self, cid: Cid, bytes_max: int = BLOB_BYTES_MAX) -> bytes:
        """Bytes that `cid` names, checked; raises Invalid(`blob_mismatch`)."""
        data = await self._transport.get_blob(format_cid(cid), bytes_max)
        if not matches(cid, data):
            raise Invalid("blob_mismatch", f"the node's bytes are not those of {format_cid(cid)}")
        return data

    async def has_blob(self, cid: Cid) -> bool:
        """Whether the node itself holds it."""
        return await self._ask(bool, "blob.has", cid=format_cid(cid))

    def subscribe_blocks(self) -> AbstractAsyncContextManager[Notifications[BlockSummary]]:
        """Each block as it is finalized."""
        return self._follow(BlockSummary, {"topic": "blocks"})

    def subscribe_events(
        self, kinds: Sequence[str] = (), subject: str | None = None
    ) -> AbstractAsyncContextManager[Notifications[EventNotice]]:
        """Events of finalized blocks: of these kinds, naming this address or hex id, or all."""
        params = {"topic": "events", "kinds": list(kinds), "subject": subject}
        return self._follow(EventNotice, params)

    def subscribe_receipts(
        self, subject: str | None = None
    ) -> AbstractAsyncContextManager[Notifications[ReceiptNotice]]:
        """Receipts of the transaction with this hex id, of this address, or all."""
        params = {"topic": "receipts", "subject": subject}
        return self._follow(ReceiptNotice, params)

    def subscribe_rounds(
        self, task: Hash | None = None
    ) -> AbstractAsyncContextManager[Notifications[RoundView]]:
        """A learning round whenever it moved: of this task, or of all."""
        params = {"topic": "rounds", "subject": _hex(task)}
        return self._follow(RoundView, params)

    @asynccontextmanager
    async def _follow(
        self, kind: type[T], params: dict[str, Any]
    ) -> AsyncIterator[Notifications[T]]:
        """At the first node that answers."""
        nodes = self._transport
        async with AsyncExitStack() as opened:
            for left in range(nodes.count - 1, -1, -1):
                following = open_subscription(nodes.url, self._token, kind, params)
                try:
                    notifications = await opened.enter_async_context(following)
                except Unavailable:
                    if left == 0:
                        raise
                    nodes.leave()
                else:
                    break
            yield notifications

    async def _proven(
        self, light: LightClient, table: Table[Record], key: bytes, height: Height | None
    ) -> tuple[Record | None, Header]:
        value, header = await checked_anywhere(
            lambda: light.read(table.prefix + key, height), self._transport
        )
        return None if value is None else table.decode(value), header

    async def _ask(self, kind: type[T], method: str, **params: Any) -> T:
        answer: T = await self.request(method, kind, **params)
        return answer

    async def _list(
        self, _entry: type[T], listing: Any, method: str, **params: Any
    ) -> tuple[T, ...]:
        answer: tuple[T, ...] = await self.request(method, listing, **params)
        return answer

    async def _id(self, method: str, **params: Any) -> Hash:
        id: Hash = await self.request(method, Hash, **params)
        return id


def require_success(status: TransactionStatus) -> None:
    """Raises Invalid with the code of a receipt that is not `ok`."""
    if status.receipt is not None and status.receipt.code != SUCCESS:
        raise Invalid(
            status.receipt.code,
            f"transaction {status.id.hex()} was included at height {status.height} but failed; "
            "only its fee was taken",
        )


def _read(annotation: Any, value: Any) -> Any:
    convert = schema.converter(annotation)
    try:
        return convert.from_plain(convert.from_json(value))
    except Invalid as error:
        raise Unavailable(
            "answer_malformed", f"the node speaks another version of AIOS: {error.message}"
        ) from None


def _hex(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def _named(address: Address | None) -> str | None:
    return None if address is None else format_address(address)
