"""Checking what a node says of the state, given a committee that one trusts. Pure functions.

A proof leads from the value over the state trie to a header's state_root, over headers to one that
is certified, and from that to the committee's signatures. Committees follow from one another: each
header commits to its own epoch's and to the next one's members (`Header.committee_hash`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Final

from p2p_aios.codec import schema
from p2p_aios.codec.limits import Range
from p2p_aios.consensus.committee import verify_certificate
from p2p_aios.errors import Invalid
from p2p_aios.ledger.genesis import genesis_state
from p2p_aios.ledger.tables import COMMITTEES, epoch_key
from p2p_aios.trie.codec import STATE_CODEC, state_path
from p2p_aios.trie.proof import verify_proof
from p2p_aios.types.block import Header, block_hash, transactions_root
from p2p_aios.types.committee import Committee, committee_hash
from p2p_aios.types.genesis import Genesis, chain_id
from p2p_aios.types.proof import FinalityProof, StateProof
from p2p_aios.types.receipt import receipts_root
from p2p_aios.types.transaction import transaction_id
from p2p_aios.types.views import BlockSummary, BlockView
from p2p_aios.types.vote import VoteKind
from p2p_aios.units import Hash, Millis

TRUSTING_MS: Final = Millis(14 * 24 * 3600 * 1000)
"""How long a committee is believed (DESIGN §6, "Long range"): whoever left it long ago has nothing
left to lose by signing another past."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """Where checking begins: a committee of a chain, known from elsewhere than the node asked.

    From genesis, or from a checkpoint: a chain that is older than TRUSTING_MS needs one.
    """

    chain_id: Hash
    epoch_blocks: Annotated[int, Range(1, 2**32)]
    committee: Committee
    timestamp_ms: Millis
    """When it was vouched for: of the block that handed over to it, or of genesis. What it signed
    is believed for TRUSTING_MS from then on."""


def trust_genesis(genesis: Genesis) -> Trusted:
    """The committee of epoch 0. Raises Invalid as `genesis_state`."""
    stored = genesis_state(genesis)[COMMITTEES.prefix + epoch_key(0)]
    return Trusted(
        chain_id(genesis),
        genesis.params.epoch_blocks,
        schema.decode(Committee, stored, len(stored)),
        genesis.timestamp_ms,
    )


def check_finality(committee: Committee, chain: Hash, proof: FinalityProof) -> Header:
    """The first header, shown to be final. Raises Invalid: `proof_unlinked`,
    `proof_uncertified`, and as `verify_certificate`."""
    for older, newer in pairwise(proof.headers):
        if newer.parent != block_hash(older) or newer.height != older.height + 1:
            raise Invalid("proof_unlinked", f"header {newer.height} does not follow the one before")
    if any(header.chain_id != chain for header in proof.headers):
        raise Invalid("proof_unlinked", "a header is of another chain")
    last, ballot = proof.headers[-1], proof.certificate.ballot
    if ballot.kind is not VoteKind.FINALIZE or ballot.block != block_hash(last):
        raise Invalid("proof_uncertified", f"the certificate does not finalize {last.height}")
    if last.epoch != ballot.epoch:
        raise Invalid("proof_uncertified", "the certificate is of another epoch than its block")
    verify_certificate(committee, chain, proof.certificate)
    return proof.headers[0]


def check_state(committee: Committee, chain: Hash, proof: StateProof) -> Header:
    """The header whose state holds `proof.value` at `proof.key`.

    Raises as `check_finality` and `check_value`.
    """
    header = check_finality(committee, chain, proof.finality)
    check_value(header, proof)
    return header


def check_value(header: Header, proof: StateProof) -> None:
    """That the state after a final block holds `proof.value` at `proof.key`.

    Raises Invalid(`proof_value_differs`), and as `verify_proof`.
    """
    value = verify_proof(STATE_CODEC, header.state_root, state_path(proof.key), proof.nodes)
    if value != proof.value:
        raise Invalid("proof_value_differs", "the trie holds another value than the node names")


def check_block(header: Header, view: BlockView) -> None:
    """That `view`, which holds its transactions, is of the block with this final header.

    Its certificate remains unchecked. Raises Invalid(`proof_block_differs`).
    """
    transactions = view.transactions or ()
    ids = tuple(transaction_id(each.body) for each in transactions)
    parts = {
        "hash": view.hash == block_hash(header) == block_hash(view.header),
        "transactions": transactions_root([schema.encode(t) for t in transactions])
        == header.tx_root,
        "transaction ids": view.transaction_ids == ids,
        "outcome": view.outcome is None
        or receipts_root(view.outcome.receipts, view.outcome.events) == header.receipts_root,
    }
    for part, is_right in parts.items():
        if not is_right:
            raise Invalid("proof_block_differs", f"block {header.height} has another {part}")


def check_blocks(last: Header, summaries: Sequence[BlockSummary]) -> None:
    """That the headers lead, each to the next, to a final one.

    Raises Invalid: `proof_block_differs`, `proof_unlinked`.
    """
    if any(each.hash != block_hash(each.header) for each in summaries):
        raise Invalid("proof_block_differs", "a header has another hash")
    for older, newer in pairwise(summaries):
        if newer.header.parent != older.hash:
            raise Invalid("proof_unlinked", f"block {newer.header.height} has another parent")
    if summaries and summaries[-1].header != last:
        raise Invalid("proof_block_differs", f"block {last.height} is another")


def check_succession(
    trusted: Trusted, claimed: Committee, following: Committee, proof: FinalityProof
) -> Trusted:
    """The committee after the trusted one; its seed is claimed still, its members are proven.

    `claimed` is the trusted committee as the node knows it by now, seed included; `proof` is of a
    block of its epoch. Raises Invalid(`committee_unproven`), and as `check_finality`.
    """
    known = trusted.committee
    header = check_finality(known, trusted.chain_id, proof)
    if header.epoch != known.epoch:
        raise Invalid("committee_unproven", f"block {header.height} is not of epoch {known.epoch}")
    if (claimed.epoch, claimed.members) != (known.epoch, known.members):
        raise Invalid("committee_unproven", f"the committee of epoch {known.epoch} is another")
    if following.epoch != known.epoch + 1:
        raise Invalid("committee_unproven", f"not the committee of epoch {known.epoch + 1}")
    if committee_hash(claimed, following.members) != header.committee_hash:
        raise Invalid("committee_unproven", f"block {header.height} commits to other committees")
    return replace(trusted, committee=following, timestamp_ms=header.timestamp_ms)
