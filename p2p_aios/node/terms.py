"""What consensus begins from: the finalized block a node stands on, and its epoch's committee."""

from p2p_aios.codec import schema
from p2p_aios.consensus.events import Anchor, Term
from p2p_aios.errors import Corrupt
from p2p_aios.ledger.environment import epoch_of
from p2p_aios.ledger.queries import read_committee
from p2p_aios.node.chain import Chain
from p2p_aios.types.block import BLOCK_BYTES_MAX, Block
from p2p_aios.types.vote import Certificate
from p2p_aios.units import Height, Millis


def anchor_of(chain: Chain) -> Anchor:
    """The tip on disk, with its certificate. Raises Corrupt where that is missing."""
    tip = chain.tip
    certificate = None
    if tip.height > 0:
        stored = chain.store.read_certificate(tip.height)
        if stored is None:
            raise Corrupt("store_damaged", f"the tip's certificate {tip.height} is missing")
        certificate = schema.decode(Certificate, stored)
    return Anchor(tip.hash, tip.height, tip.timestamp_ms, certificate)


def term_after(chain: Chain, height: Height) -> Term:
    """The term of the epoch that the block after `height`, which is final, belongs to."""
    epoch = epoch_of(height + 1, chain.params)
    with chain.state() as state:
        committee = read_committee(state, epoch)
    if committee is None:
        raise Corrupt("state_missing", f"no committee for epoch {epoch}")
    return Term(committee, _timestamp(chain, Height(epoch * chain.params.epoch_blocks)))


def _timestamp(chain: Chain, height: Height) -> Millis:
    if height == 0:
        return chain.genesis.timestamp_ms
    stored = chain.store.read_block(height)
    if stored is None:
        raise Corrupt("store_damaged", f"block {height} is missing")
    return schema.decode(Block, stored, BLOCK_BYTES_MAX).header.timestamp_ms
