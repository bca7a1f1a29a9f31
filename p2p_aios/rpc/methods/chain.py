"""`chain.*`, `block.*` and what finalized state holds of accounts, validators and the supply."""

from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec.limits import Range
from p2p_aios.errors import Invalid
from p2p_aios.rpc.projection import summarize, view_block
from p2p_aios.rpc.registry import NoParameters, Service, method
from p2p_aios.types.block import FinalizedBlock
from p2p_aios.types.committee import Committee
from p2p_aios.types.genesis import Genesis
from p2p_aios.types.views import (
    LISTING_MAX,
    PAGE_MAX,
    AccountView,
    BlockSummaries,
    BlockSummary,
    BlockView,
    SupplyView,
    Validators,
    ValidatorView,
)
from p2p_aios.units import Address, Epoch, Hash, Height


@dataclass(frozen=True, slots=True)
class GetBlock:
    """One of the two names it; neither: the last finalized block."""

    height: Height | None = None
    hash: Hash | None = None
    transactions: bool = False
    """Decode them, beside their ids."""
    outcome: bool = False
    """Add receipts and events."""


@dataclass(frozen=True, slots=True)
class GetBlocks:
    first: Height
    count: Annotated[int, Range(1, PAGE_MAX)] = PAGE_MAX


@dataclass(frozen=True, slots=True)
class GetAccount:
    address: Address
    height: Height | None = None
    """State after this block; none: the latest."""


@dataclass(frozen=True, slots=True)
class GetSupply:
    height: Height | None = None
    """State after this block; none: the latest."""


@dataclass(frozen=True, slots=True)
class ListValidators:
    after: Address | None = None
    """Last address of the page before."""
    limit: Annotated[int, Range(1, LISTING_MAX)] = LISTING_MAX
    height: Height | None = None
    """State after this block; none: the latest."""


@dataclass(frozen=True, slots=True)
class GetCommittee:
    epoch: Epoch | None = None
    """None: that of the block at `height`."""
    height: Height | None = None
    """As the state after this block has it; none: wherever this node finds it."""


@method("chain.genesis", NoParameters, Genesis)
async def genesis(service: Service, _: NoParameters) -> Genesis:
    """Parameters and first state; its hash is the chain id."""
    return await service.backend.genesis()


@method("block.get", GetBlock, BlockView)
async def get_block(service: Service, asked: GetBlock) -> BlockView:
    """A finalized block by height or hash."""
    height = await _height(service, asked)
    finalized = await _block(service, height)
    outcome = await service.backend.outcome_at(height) if asked.outcome else None
    return view_block(finalized, outcome, asked.transactions)


@method("block.range", GetBlocks, BlockSummaries)
async def get_blocks(service: Service, asked: GetBlocks) -> tuple[BlockSummary, ...]:
    """Headers of consecutive finalized blocks; fewer where the chain ends."""
    summaries: list[BlockSummary] = []
    for height in range(asked.first, asked.first + asked.count):
        finalized = await service.backend.block_at(Height(height))
        if finalized is None:
            break
        summaries.append(summarize(finalized.block))
    return tuple(summaries)


@method("account.get", GetAccount, AccountView)
async def get_account(service: Service, asked: GetAccount) -> AccountView:
    """Balance and nonces of an account."""
    return await service.backend.account(asked.address, asked.height)


@method("validator.list", ListValidators, Validators)
async def list_validators(service: Service, asked: ListValidators) -> tuple[ValidatorView, ...]:
    """Registered validators, seated or not, by address."""
    return await service.backend.validators(asked.after, asked.limit, asked.height)


@method("committee.get", GetCommittee, Committee)
async def get_committee(service: Service, asked: GetCommittee) -> Committee:
    """Who votes in an epoch, and with what weight; old epochs: ask an archive."""
    committee = await service.backend.committee(asked.epoch, asked.height)
    if committee is None:
        raise Invalid("unknown_committee", f"no committee of epoch {asked.epoch} is known")
    return committee


@method("supply.get", GetSupply, SupplyView)
async def supply(service: Service, asked: GetSupply) -> SupplyView:
    """Where every unit is."""
    return await service.backend.supply(asked.height)


async def _height(service: Service, asked: GetBlock) -> Height:
    if asked.height is not None and asked.hash is not None:
        raise Invalid("params_invalid", "name a block by height or by hash, not by both")
    if asked.height is not None:
        return asked.height
    if asked.hash is None:
        return (await service.backend.status()).height
    height = await service.backend.height_of(asked.hash)
    if height is None:
        raise Invalid("unknown_block", f"no finalized block has hash {asked.hash.hex()}")
    return height


async def _block(service: Service, height: Height) -> FinalizedBlock:
    finalized = await service.backend.block_at(height)
    if finalized is None:
        raise Invalid("unknown_block", f"no finalized block at height {height}")
    return finalized


METHODS: Final = (
    genesis,
    get_block,
    get_blocks,
    get_account,
    list_validators,
    get_committee,
    supply,
)
