"""What an answer to GetBlocks must be, by itself."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from p2p_aios.errors import Invalid
from p2p_aios.sync.answers import check_answer
from p2p_aios.types.block import Block, FinalizedBlock, block_hash
from p2p_aios.types.request import GetBlocks
from p2p_aios.types.vote import Ballot, VoteKind
from p2p_aios.units import Epoch, Hash, Height, View
from tests.sync.chain_world import chain

BLOCKS = chain(10, body=(b"transaction",))
ASKED = GetBlocks(Height(3), 4)


def test_the_asked_range_or_its_beginning_is_accepted() -> None:
    for count in range(5):
        answer = BLOCKS[2 : 2 + count]
        hashes = check_answer(ASKED, answer)
        assert hashes == tuple(block_hash(each.block.header) for each in answer)


def with_ballot(**changes: object) -> Callable[[FinalizedBlock], FinalizedBlock]:
    def alter(block: FinalizedBlock) -> FinalizedBlock:
        assert block.certificate
        ballot: Ballot = replace(block.certificate.ballot, **changes)  # type: ignore[arg-type]
        return replace(block, certificate=replace(block.certificate, ballot=ballot))

    return alter


def with_header(**changes: object) -> Callable[[FinalizedBlock], FinalizedBlock]:
    def alter(block: FinalizedBlock) -> FinalizedBlock:
        header = replace(block.block.header, **changes)  # type: ignore[arg-type]
        return FinalizedBlock(replace(block.block, header=header), None)

    return alter


@pytest.mark.parametrize(
    ("alter", "code"),
    [
        (with_ballot(kind=VoteKind.NOTARIZE), "range_certificate"),
        (with_ballot(block=Hash(bytes(32))), "range_certificate"),
        (with_ballot(epoch=Epoch(1)), "range_certificate"),
        (with_ballot(view=View(0)), "range_certificate"),
        (with_header(height=Height(9)), "range_heights"),
        (with_header(tx_root=Hash(bytes(32))), "range_body"),
        (lambda b: FinalizedBlock(Block(b.block.header, ()), b.certificate), "range_body"),
        (with_header(parent=Hash(bytes(32))), "range_unlinked"),
    ],
)
def test_what_no_honest_peer_sends(
    alter: Callable[[FinalizedBlock], FinalizedBlock], code: str
) -> None:
    answer = [*BLOCKS[2:4], alter(BLOCKS[4]), BLOCKS[5]]
    with pytest.raises(Invalid) as caught:
        check_answer(ASKED, answer)
    assert caught.value.code == code


def test_other_ranges_are_refused() -> None:
    for answer, code in (
        (BLOCKS[2:7], "range_too_long"),
        (BLOCKS[3:6], "range_heights"),
        (BLOCKS[5:1:-1], "range_heights"),
        ([BLOCKS[2], BLOCKS[2]], "range_heights"),
    ):
        with pytest.raises(Invalid) as caught:
            check_answer(ASKED, answer)
        assert caught.value.code == code


def test_a_certificate_of_a_later_view_is_a_reproposed_block() -> None:
    later = with_ballot(view=View(99))(BLOCKS[2])
    assert check_answer(ASKED, [later])
