"""The tree of unfinalized blocks, and the small bounded stores beside it."""

import sys

import pytest

from p2p_aios.consensus import candidates as module
from p2p_aios.consensus.candidates import Candidates, Standing
from p2p_aios.consensus.early import EARLY_MESSAGES_MAX, EARLY_PEERS_MAX, EarlyMessages
from p2p_aios.consensus.events import Anchor, Build
from p2p_aios.consensus.inquiries import INQUIRIES_MAX, RETRY_MS, Allowance, Inquiries
from p2p_aios.types.block import Block, Proposal, block_hash
from p2p_aios.types.vote import Ballot, Certificate, Vote, VoteKind
from p2p_aios.units import ZERO_HASH, Address, Epoch, Hash, Height, Millis, Signature, View
from testnet.simulate.application import CHAIN_ID, GENESIS_MS, make_block

GENESIS = Anchor(CHAIN_ID, Height(0), Millis(GENESIS_MS), None)


def block_on(parent: Block | None, view: int, body: bytes = b"x") -> Block:
    height = parent.header.height + 1 if parent else 1
    named = block_hash(parent.header) if parent else CHAIN_ID
    task = Build(named, Height(height), Epoch(0), View(view), Millis(height), is_empty=False)
    return make_block(task, ZERO_HASH, Address(bytes(20)), (body,))


def name(block: Block) -> Hash:
    return block_hash(block.header)


def chain_of(count: int) -> list[Block]:
    blocks = [block_on(None, 1)]
    while len(blocks) < count:
        blocks.append(block_on(blocks[-1], len(blocks) + 1))
    return blocks


def finalization(block: Block) -> Certificate:
    ballot = Ballot(VoteKind.FINALIZE, Epoch(0), block.header.view, name(block))
    return Certificate(ballot, (0,), (Signature(bytes(64)),))


def test_a_chain_is_whole_or_says_what_it_lacks() -> None:
    tree = Candidates(GENESIS)
    first, second, third = chain_of(3)
    tree.add(third)
    tree.add(first)
    assert tree.chain(name(third)) is None
    way, missing = tree.branch(name(third))
    assert [c.block for c in way] == [third]
    assert missing == name(second)
    tree.add(second)
    assert [c.block for c in tree.chain(name(third)) or []] == [first, second, third]
    assert tree.chain(CHAIN_ID) == []


def test_finalizing_moves_the_tip_and_forgets_siblings() -> None:
    tree = Candidates(GENESIS)
    first, second, third = chain_of(3)
    rival = block_on(first, 9, b"rival")
    for block in (first, second, third, rival):
        tree.add(block, Standing.VALID)
    tree.finalize(tree.chain(name(second)) or [], finalization(second))
    assert (tree.tip.block, tree.tip.height) == (name(second), 2)
    assert tree.get(name(rival)) is None
    assert [c.block for c in tree.chain(name(third)) or []] == [third]
    assert tree.is_executed(name(second))
    assert tree.serve(name(third), 7) == [third, second, first]
    assert tree.serve(name(third), 1) == [third, second]


def test_a_branch_beside_the_tip_is_no_chain() -> None:
    tree = Candidates(GENESIS)
    first, second = chain_of(2)
    rival = block_on(None, 5, b"rival")
    child = block_on(rival, 6)
    for block in (first, second, rival, child):
        tree.add(block)
    tree.finalize(tree.chain(name(first)) or [], finalization(first))
    assert tree.branch(name(child))[1] == name(rival)
    assert tree.chain(name(child)) is None


def test_adding_again_keeps_the_verdict() -> None:
    tree = Candidates(GENESIS)
    (block,) = chain_of(1)
    tree.add(block).standing = Standing.INVALID
    assert tree.add(block).standing is Standing.INVALID
    assert not tree.is_executed(name(block))
    assert len(tree) == 1


def test_uncertified_blocks_are_evicted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Candidates(GENESIS)
    blocks = [block_on(None, view, bytes((view,))) for view in range(1, 11)]
    for block in blocks:
        tree.add(block)
    monkeypatch.setattr(module, "CANDIDATES_MAX", 4)
    tree.evict([name(blocks[0])])
    assert [b for b in blocks if tree.get(name(b))] == [blocks[0], *blocks[7:]]


def test_what_a_certified_block_stands_on_is_never_evicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing becomes final for long, only the newest views are still looked at; the blocks
    below them are every member's only copies."""
    tree = Candidates(GENESIS)
    chain = chain_of(6)
    rivals = [block_on(None, view, bytes((view,))) for view in range(7, 11)]
    for block in (*chain, *rivals):
        tree.add(block)
    monkeypatch.setattr(module, "CANDIDATES_MAX", 7)
    tree.evict([name(chain[-2]), name(chain[-1])])
    assert [c.block for c in tree.chain(name(chain[-1])) or []] == chain
    assert [b for b in rivals if tree.get(name(b))] == rivals[-1:]


def test_a_block_of_tiny_transactions_weighs_what_it_takes() -> None:
    """Of bytes sent, a candidate may take thirty times as many to hold."""
    tree = Candidates(GENESIS)
    task = Build(CHAIN_ID, Height(1), Epoch(0), View(1), Millis(1), is_empty=False)
    sent = tuple(bytes((i >> 8, i & 255)) for i in range(16_384))
    block = make_block(task, ZERO_HASH, Address(bytes(20)), sent)
    held = sum(sys.getsizeof(each) for each in sent) + sys.getsizeof(sent)
    assert tree.add(block).bytes >= held


def test_finalized_blocks_kept_for_others_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT_BLOCKS_MAX", 3)
    tree = Candidates(GENESIS)
    blocks = chain_of(6)
    for block in blocks:
        tree.add(block)
    tree.finalize(tree.chain(name(blocks[-1])) or [], finalization(blocks[-1]))
    assert tree.serve(name(blocks[-1]), 7) == blocks[:2:-1]


def test_inquiries_are_paced_and_bounded() -> None:
    inquiries = Inquiries()
    inquiries.keep([View(v) for v in range(1000)], 100, now_ms=0)
    assert sum(inquiries.is_open(View(v)) for v in range(1000)) == INQUIRIES_MAX
    assert inquiries.take_due(View(1), 99) is None
    assert inquiries.take_due(View(1), 100) == 0
    assert inquiries.take_due(View(1), 100 + RETRY_MS - 1) is None
    assert inquiries.take_due(View(1), 100 + RETRY_MS) == 1
    inquiries.drop_all_but(frozenset([View(1)]))
    assert inquiries.next_ms() == 100 + RETRY_MS + 2 * RETRY_MS


def test_an_allowance_renews_with_its_window() -> None:
    allowance = Allowance(most=2, window_ms=1000)
    one, other = Address(bytes(20)), Address(b"\x01" * 20)
    assert [allowance.take(one, 10) for _ in range(3)] == [True, True, False]
    assert allowance.take(other, 20)
    assert allowance.take(one, 1000)


def test_early_messages_are_bounded_in_every_direction() -> None:
    early = EarlyMessages()
    vote = Vote(Ballot(VoteKind.NULLIFY, Epoch(1), View(1), ZERO_HASH), 0, Signature(bytes(64)))
    proposal = Proposal(block_on(None, 1), View(1), View(0), vote)
    peer = Address(bytes(20))
    early.put(peer, proposal)
    early.put(peer, Proposal(block_on(None, 2), View(2), View(0), vote))
    for _ in range(100):
        early.put(Address(b"\x01" * 20), vote)
    for i in range(2 * EARLY_PEERS_MAX):
        early.put(Address(i.to_bytes(20, "big")), vote)
    kept = early.take_all()
    assert kept[:2] == [(peer, proposal), (peer, vote)]
    assert len({p for p, _ in kept}) == EARLY_PEERS_MAX
    assert sum(p == b"\x01" * 20 for p, _ in kept) == EARLY_MESSAGES_MAX
    assert early.take_all() == []
