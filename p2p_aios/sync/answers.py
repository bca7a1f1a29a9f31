"""Whether an answer to GetBlocks can be what was asked for, before anything is trusted."""

from collections.abc import Sequence
from itertools import pairwise

from p2p_aios.errors import Invalid
from p2p_aios.types.block import FinalizedBlock, block_hash, transactions_root
from p2p_aios.types.request import GetBlocks
from p2p_aios.types.vote import VoteKind
from p2p_aios.units import Hash


def check_answer(asked: GetBlocks, blocks: Sequence[FinalizedBlock]) -> tuple[Hash, ...]:
    """The blocks' hashes, if they are the asked heights in order, linked, with their own bodies.

    Certificates are only matched with their blocks here; their signatures are checked later.
    Raises Invalid: `range_too_long`, `range_heights`, `range_unlinked`, `range_body`,
    `range_certificate`.
    """
    if len(blocks) > asked.count:
        raise Invalid("range_too_long", f"{len(blocks)} blocks where {asked.count} were asked for")
    hashes = []
    for height, each in enumerate(blocks, start=asked.start):
        header = each.block.header
        if header.height != height:
            raise Invalid("range_heights", f"height {header.height} in the place of {height}")
        if header.tx_root != transactions_root(each.block.transactions):
            raise Invalid("range_body", f"the body of block {height} is not what its header names")
        digest = block_hash(header)
        _check_certificate_form(each, digest)
        hashes.append(digest)
    for (parent, _), (digest, child) in pairwise(zip(hashes, blocks, strict=True)):
        if child.block.header.parent != parent:
            raise Invalid("range_unlinked", f"the parent of block {digest.hex()[:16]} is another")
    return tuple(hashes)


def _check_certificate_form(block: FinalizedBlock, digest: Hash) -> None:
    """A certificate must finalize this block, in its epoch, in its view or a later one."""
    if block.certificate is None:
        return
    ballot, header = block.certificate.ballot, block.block.header
    fits = (
        ballot.kind == VoteKind.FINALIZE
        and ballot.block == digest
        and ballot.epoch == header.epoch
        and ballot.view >= header.view
    )
    if not fits:
        raise Invalid(
            "range_certificate", f"the certificate at height {header.height} is another's"
        )
