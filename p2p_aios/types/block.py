"""Blocks, eq. (1): b_i = {Data_T, H(b_{i-1}), H(b_i), Timestamp, Nonce}."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Size
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.merkle import merkle_root
from p2p_aios.types.transaction import RawTransaction
from p2p_aios.types.vote import Certificate, Vote
from p2p_aios.units import Address, Epoch, Hash, Height, Millis, View

BLOCK_BYTES_MAX: Final = 900 * 1024
"""Decoder's bound on a whole block; the protocol's own is `Params.block_bytes_max`."""
BLOCK_TRANSACTIONS_MAX: Final = 16_384
_HEADER_HELD_BYTES: Final = 2048
_BYTES_OBJECT_BYTES: Final = 48
"""What a header, and each transaction besides its own bytes, takes in memory."""


@dataclass(frozen=True, slots=True)
class Header:
    """What H(b_i) covers. Epoch and view are the paper's Nonce: its leader uses each pair once."""

    chain_id: Hash
    height: Height
    epoch: Epoch
    view: View
    """View of the first proposal; a block re-proposed in a later view keeps it."""
    parent: Hash
    """H(b_{i-1}); the chain id for the block at height 1."""
    timestamp_ms: Millis
    proposer: Address
    reveal: Hash
    """Next preimage of the proposer's beacon chain."""
    tx_root: Hash
    """Merkle root of the encoded transactions (Data_T)."""
    receipts_root: Hash
    """Merkle root of the encoded receipts, the block's own events last."""
    state_root: Hash
    """Root of the state trie after this block."""
    pash_root: Hash
    """Root of the contribution trie after this block, sums included."""
    committee_hash: Hash
    """Commits to this and the next epoch's committees."""


@dataclass(frozen=True, slots=True)
class Block:
    header: Header
    transactions: Annotated[tuple[RawTransaction, ...], Size(0, BLOCK_TRANSACTIONS_MAX)]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block, offered in a view by its leader, with the leader's own notarize vote."""

    block: Block
    view: View
    """The view it is proposed in; later than the header's where an epoch's last block returns."""
    parent_view: View
    """View in which the parent was notarized; 0 where the parent belongs to an earlier epoch."""
    vote: Vote


@dataclass(frozen=True, slots=True)
class FinalizedBlock:
    """A block with what makes it final."""

    block: Block
    certificate: Certificate | None
    """Finalization of this very block; None where a descendant's certificate finalized it."""


def block_hash(header: Header) -> Hash:
    """H(b_i): sha256 of the canonical header."""
    return sha256(schema.encode(header))


def held_bytes(block: Block) -> int:
    """About what holding a decoded block takes, in bytes: a body of tiny transactions takes up to
    thirty times what it took to send."""
    return _HEADER_HELD_BYTES + sum(len(raw) + _BYTES_OBJECT_BYTES for raw in block.transactions)


def transactions_root(transactions: Sequence[bytes]) -> Hash:
    """`Header.tx_root`."""
    return merkle_root(transactions)
