"""What must hold of a testnet at any time. Each check returns what is wrong: nothing, normally.

Pure: `testnet.inspection` fetches what is compared here.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from p2p_aios.types.genesis import Genesis
from p2p_aios.types.views import AccountView, SupplyView
from p2p_aios.units import Hash

SUPPLY_PER_SATOSHI: Final = 1000
"""Eq. (10): S = 1000 × DormantBTC, in units of 10^-8 of each."""

Differences = tuple[str, ...]
Chain = Mapping[int, Hash]
"""Block hash at each finalized height."""


def check_supply(
    genesis: Genesis, supply: SupplyView, accounts: Sequence[AccountView]
) -> Differences:
    """circulating + reserve - burn_debt = 1000 × dormant_sat, and every circulating unit is found.

    `accounts`: every account that ever received something, as of the supply's height.
    """
    found: list[str] = []
    target = SUPPLY_PER_SATOSHI * supply.dormant_sat
    if supply.dormant_sat != genesis.dormant_sat:
        found.append(f"dormant {supply.dormant_sat} sat, genesis has {genesis.dormant_sat}")
    if supply.target != target:
        found.append(f"target {supply.target}, eq. (10) gives {target}")
    total = supply.circulating + supply.reserve - supply.burn_debt
    if total != target:
        found.append(f"circulating + reserve - burn debt is {total}, not {target}")
    elsewhen = sorted({account.height for account in accounts} - {supply.height})
    if elsewhen:
        found.append(f"accounts read at heights {elsewhen}, the supply at {supply.height}")
    balances = sum(account.balance for account in accounts)
    parts = balances + supply.escrowed + supply.pool + supply.treasury
    if parts != supply.circulating:
        found.append(
            f"balances {balances} + escrowed {supply.escrowed} + pool {supply.pool} + treasury "
            f"{supply.treasury} = {parts}, not circulating {supply.circulating}"
        )
    return tuple(found)


def check_same_blocks(chains: Mapping[str, Chain]) -> Differences:
    """At each height all nodes that know it have the same block. Keys: names of nodes."""
    found: list[str] = []
    for height in sorted({height for chain in chains.values() for height in chain}):
        blocks = {name: chain[height] for name, chain in chains.items() if height in chain}
        if len(set(blocks.values())) > 1:
            told = ", ".join(f"{name} {block.hex()[:12]}" for name, block in blocks.items())
            found.append(f"different blocks at height {height}: {told}")
    return tuple(found)


def check_nothing_lost(before: Chain, after: Chain) -> Differences:
    """Whatever a node had finalized `before` (a fault) is there, unchanged, `after`."""
    return tuple(
        f"height {height}: {block.hex()[:12]} before, "
        f"{after[height].hex()[:12] if height in after else 'nothing'} after"
        for height, block in sorted(before.items())
        if after.get(height) != block
    )


def check_intervals(timestamps_ms: Sequence[int], least_ms: int) -> Differences:
    """Consecutive blocks' timestamps lie at least `least_ms` apart (DESIGN §6, "Pacing")."""
    return tuple(
        f"block {index} only {later - earlier} ms after its parent"
        for index, (earlier, later) in enumerate(pairwise(timestamps_ms))
        if later - earlier < least_ms
    )
