"""Calls about the node, its chain, and what finalized state holds of accounts and validators."""

from dataclasses import replace
from functools import partial
from typing import Any

from p2p_aios.consensus.committee import last_height
from p2p_aios.crypto.keys import format_address
from p2p_aios.errors import Invalid, Unavailable
from p2p_aios.ledger.projection import project_committee, project_supply, project_validators
from p2p_aios.ledger.queries import read_account
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import Record, Table
from p2p_aios.sdk.answers import name_of
from p2p_aios.sdk.asking import Asking
from p2p_aios.sdk.light import LightClient
from p2p_aios.sdk.proofs import check_block, check_blocks
from p2p_aios.types.committee import Committee
from p2p_aios.types.genesis import Genesis, chain_id
from p2p_aios.types.proof import FinalityProof, StateProof
from p2p_aios.types.views import (
    LISTING_MAX,
    PAGE_MAX,
    AccountView,
    BlockSummaries,
    BlockSummary,
    BlockView,
    NodeStatus,
    Peers,
    PeerView,
    SupplyView,
    Validators,
    ValidatorView,
)
from p2p_aios.units import Address, Epoch, Hash, Height


class ChainCalls(Asking):
    """`node.*`, `chain.*`, `block.*`, `account.*`, `validator.*`, `committee.*`, `supply.*`."""

    _chain: tuple[Hash, Genesis] | None = None

    async def discover(self) -> dict[str, Any]:
        """The node's interface as an OpenRPC document."""
        document = await self._nodes.call("rpc.discover", {})
        if not isinstance(document, dict):
            raise Unavailable("answer_malformed", "an OpenRPC document is an object")
        return document

    async def status(self) -> NodeStatus:
        """Chain, height, consensus position, peers and compute gateway. Never proven."""
        return await self._ask(NodeStatus, "node.status")

    async def peers(
        self, after: str | None = None, limit: int = LISTING_MAX
    ) -> tuple[PeerView, ...]:
        """By peer id. Never proven: whom a node is connected to is its own affair."""
        return await self._list(PeerView, Peers, "node.peers", after=after, limit=limit)

    async def chain(self) -> tuple[Hash, Genesis]:
        """Chain id and genesis, asked for once.

        Raises Invalid(`genesis_wrong`) where they do not belong together.
        """
        if self._chain is None:
            genesis = await self._ask(Genesis, "chain.genesis")
            trusted = self.trusted
            named = (await self.status() if trusted is None else trusted).chain_id
            if chain_id(genesis) != named:
                raise Invalid("genesis_wrong", f"the node's genesis is not that of {named.hex()}")
            self._chain = named, genesis
        return self._chain

    async def block(
        self,
        at: Height | Hash | None = None,
        *,
        has_transactions: bool = False,
        has_outcome: bool = False,
    ) -> BlockView:
        """A finalized block by height or hash, or the last one.

        Where checking: proven, with all that it holds but its certificate.
        """
        if self._light is None:
            return await self._ask_block(at, has_transactions, has_outcome)
        # Transactions are what proves their ids.
        view = await self._checked(self._prove_block_view, self._light, at, has_outcome)
        return view if has_transactions else replace(view, transactions=None)

    async def _prove_block_view(
        self, light: LightClient, at: Height | Hash | None, has_outcome: bool
    ) -> BlockView:
        seen = light.seen if at is None else None
        view = await self._ask_block(at, True, has_outcome)
        if at not in (None, view.header.height, view.hash):
            raise Invalid("proof_off_topic", "another block than was asked for")
        check_block(await light.header(view.header.height, seen=seen), view)
        return view

    async def _ask_block(
        self, at: Height | Hash | None, has_transactions: bool, has_outcome: bool
    ) -> BlockView:
        where = {"hash": at.hex()} if isinstance(at, bytes) else {"height": at}
        extent = {"transactions": has_transactions, "outcome": has_outcome}
        return await self._ask(BlockView, "block.get", **where, **extent)

    async def blocks(self, first: Height, count: int = PAGE_MAX) -> tuple[BlockSummary, ...]:
        """Consecutive finalized blocks, without bodies.

        Where checking: hashes and headers are proven, up to the last one told of; sizes and whether
        there are more remain what the node says.
        """
        if self._light is None:
            return await self._ask_blocks(first, count)
        return await self._checked(self._prove_blocks, self._light, first, count)

    async def _prove_blocks(
        self, light: LightClient, first: Height, count: int
    ) -> tuple[BlockSummary, ...]:
        summaries = await self._ask_blocks(first, count)
        if summaries:
            last = Height(first + len(summaries) - 1)
            check_blocks(await light.header(last), summaries)
        return summaries

    async def _ask_blocks(self, first: Height, count: int) -> tuple[BlockSummary, ...]:
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
        account, header = await self._prove(partial(read_account, address=address), height)
        following = max(view.next_nonce, account.nonce)
        return AccountView(address, account.balance, account.nonce, following, header.height)

    async def record(
        self, table: Table[Record], key: bytes = b"", height: Height | None = None
    ) -> Record | None:
        """A record of the state, proven; None where it is proven that there is none.

        Tables and their keys: `ledger.tables`. Raises Invalid(`nothing_trusted`) where this client
        was not told what to trust, and with what is wrong in a proof.
        """
        record, _ = await self._prove(lambda reader: State(reader).get(table, key), height)
        return record

    async def prove_state(self, key: bytes, height: Height | None = None) -> StateProof:
        """As the node gives it: see `sdk.proofs` for checking it."""
        return await self._ask(StateProof, "state.proof", key=key.hex(), height=height)

    async def prove_block(self, height: Height | None = None) -> FinalityProof:
        """As the node gives it."""
        return await self._ask(FinalityProof, "block.proof", height=height)

    async def validators(
        self,
        after: Address | None = None,
        limit: int = LISTING_MAX,
        height: Height | None = None,
    ) -> tuple[ValidatorView, ...]:
        """By address. Where checking: proven, and that none is left out."""
        if self._light is None:
            page = {"after": name_of(after), "limit": limit, "height": height}
            return await self._list(ValidatorView, Validators, "validator.list", **page)
        _, genesis = await self.chain()
        project = partial(project_validators, params=genesis.params, after=after, limit=limit)
        return (await self._prove(project, height))[0]

    async def committee(
        self, epoch: Epoch | None = None, height: Height | None = None
    ) -> Committee:
        """Voters of an epoch, by default of the current one, or of that of the block at `height`.

        Epochs that the state has forgotten are known to archives only: Unavailable(`height_pruned`)
        elsewhere. Where checking: proven.
        """
        if self._light is None:
            return await self._ask(Committee, "committee.get", epoch=epoch, height=height)
        params = (await self.chain())[1].params
        project = partial(project_committee, params=params, epoch=epoch)
        found, header = await self._prove(project, height)
        if found is None and epoch is not None and height is None:
            # As the node does: at its end, an epoch's state still knows its committee.
            last = last_height(epoch, params.epoch_blocks)
            found = (await self._prove(project, last))[0] if last <= header.height else None
        if found is None:
            raise Invalid("unknown_committee", f"it is proven that epoch {epoch} has none there")
        return found

    async def supply(self, height: Height | None = None) -> SupplyView:
        """Where every unit is. Where checking: proven."""
        if self._light is None:
            return await self._ask(SupplyView, "supply.get", height=height)
        return (await self._prove(project_supply, height))[0]
