"""A chain of finalized blocks, and peers that serve it honestly or not."""

from collections.abc import Callable
from dataclasses import replace

from p2p_aios.crypto.hashing import sha256
from p2p_aios.types.block import Block, FinalizedBlock, Header, block_hash, transactions_root
from p2p_aios.types.request import GetBlocks, blocks_that_fit
from p2p_aios.types.vote import Ballot, Certificate, VoteKind, ballot_digest
from p2p_aios.units import Address, Epoch, Hash, Height, Millis, Signature, View

CHAIN_ID = Hash(sha256(b"chain"))
EPOCH_BLOCKS = 40


def seal(ballot: Ballot) -> Signature:
    """Stands in for a quorum's signatures: only who knows this function can make them."""
    return Signature(sha256(b"quorum" + ballot_digest(CHAIN_ID, ballot)) * 2)


def is_sealed(certificate: Certificate) -> bool:
    return certificate.signatures == (seal(certificate.ballot),)


def certificate_of(header: Header, sealed: bool = True) -> Certificate:
    ballot = Ballot(VoteKind.FINALIZE, header.epoch, header.view, block_hash(header))
    return Certificate(ballot, (0,), (seal(ballot) if sealed else Signature(bytes(64)),))


def child_of(
    parent: Hash,
    height: int,
    body: tuple[bytes, ...] = (),
    mark: bytes = b"",
    epoch: int | None = None,
) -> Block:
    """A block at `height`; `mark` tells forks apart."""
    zero = Hash(bytes(32))
    header = Header(
        chain_id=CHAIN_ID,
        height=Height(height),
        epoch=Epoch((height - 1) // EPOCH_BLOCKS if epoch is None else epoch),
        view=View(height),
        parent=parent,
        timestamp_ms=Millis(height * 500),
        proposer=Address(bytes(20)),
        reveal=sha256(mark),
        tx_root=transactions_root(body),
        receipts_root=zero,
        state_root=zero,
        pash_root=zero,
        committee_hash=zero,
    )
    return Block(header, body)


def chain(
    length: int,
    certified: Callable[[int], bool] = lambda _: True,
    body: tuple[bytes, ...] = (),
    mark: bytes = b"",
    sealed: bool = True,
) -> list[FinalizedBlock]:
    """Blocks 1..length; an epoch's last block always has its certificate, as in the protocol."""
    blocks, parent = [], CHAIN_ID
    for height in range(1, length + 1):
        block = child_of(parent, height, body, mark)
        is_last = height in (length,) or height % EPOCH_BLOCKS == 0
        certificate = certificate_of(block.header, sealed) if certified(height) or is_last else None
        blocks.append(FinalizedBlock(block, certificate))
        parent = block_hash(block.header)
    return blocks


def hash_at(blocks: list[FinalizedBlock], height: int) -> Hash:
    return block_hash(blocks[height - 1].block.header) if height else CHAIN_ID


Serve = Callable[[GetBlocks], tuple[FinalizedBlock, ...] | None]
"""A peer's behaviour: its answer, or None for silence."""


def honest(blocks: list[FinalizedBlock]) -> Serve:
    def serve(asked: GetBlocks) -> tuple[FinalizedBlock, ...]:
        return blocks_that_fit(blocks[asked.start - 1 :], asked.count).blocks

    return serve


def altered(
    serve: Serve, alter: Callable[[FinalizedBlock], FinalizedBlock], index: int = -1
) -> Serve:
    """One block of every answer is changed."""

    def wrong(asked: GetBlocks) -> tuple[FinalizedBlock, ...]:
        answer = list(serve(asked) or ())
        if answer:
            answer[index] = alter(answer[index])
        return tuple(answer)

    return wrong


def without_certificates(serve: Serve) -> Serve:
    def wrong(asked: GetBlocks) -> tuple[FinalizedBlock, ...]:
        return tuple(replace(each, certificate=None) for each in serve(asked) or ())

    return wrong
