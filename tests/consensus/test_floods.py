"""What a member can make us do by sending the same kind of thing over and over."""

from dataclasses import replace

import pytest

from p2p_aios.consensus import proposals, voting
from p2p_aios.consensus.committee import Roster
from p2p_aios.consensus.events import Anchor, Build, Now, Received, ReportEvidence, Start
from p2p_aios.consensus.instance import Identity
from p2p_aios.consensus.records import JournalBirth
from p2p_aios.consensus.simplex import Simplex
from p2p_aios.params import MAINNET
from p2p_aios.types.block import Proposal, block_hash
from p2p_aios.types.vote import Ballot, Vote, VoteKind, ballot_digest
from p2p_aios.units import ZERO_HASH, Epoch, Hash, Height, Millis, View
from testnet.simulate.application import CHAIN_ID, GENESIS_MS, Ledger, make_block, simulated_keys

KEYS = sorted((simulated_keys(i) for i in range(4)), key=lambda keys: keys.address)
TERM = Ledger(KEYS, MAINNET, (100, 100)).next_term()
GENESIS = Anchor(CHAIN_ID, Height(0), Millis(GENESIS_MS), None)
LEADER = Roster(TERM.committee).leader(View(1))
OWN = (LEADER + 1) % 4
FLOOD = 40


def started() -> Simplex:
    birth = JournalBirth(Millis(GENESIS_MS), Height(0))
    core = Simplex(Identity(CHAIN_ID, MAINNET, KEYS[OWN]), GENESIS, TERM, (), birth)
    core.step(Start(), at(0))
    return core


def at(ms: int) -> Now:
    return Now(ms, GENESIS_MS + ms)


def vote_for(block: Hash) -> Vote:
    ballot = Ballot(VoteKind.NOTARIZE, Epoch(0), View(1), block)
    return Vote(ballot, LEADER, KEYS[LEADER].sign_digest(ballot_digest(CHAIN_ID, ballot)))


def proposal(number: int) -> Proposal:
    at_ms = Millis(GENESIS_MS + 500)
    task = Build(CHAIN_ID, Height(1), Epoch(0), View(1), at_ms, is_empty=False)
    block = make_block(task, ZERO_HASH, KEYS[LEADER].address, (b"%d" % number,))
    return Proposal(block, View(1), View(0), vote_for(block_hash(block.header)))


def count_calls(monkeypatch: pytest.MonkeyPatch, module, name: str) -> list[str]:
    calls: list[str] = []
    real = getattr(module, name)

    def counted(*arguments):
        calls.append(name)
        return real(*arguments)

    monkeypatch.setattr(module, name, counted)
    return calls


def test_votes_that_contradict_each_other_are_checked_until_they_are_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core = started()
    checked = count_calls(monkeypatch, voting, "verify_vote")
    outputs = [
        output
        for number in range(FLOOD)
        for output in core.step(
            Received(KEYS[LEADER].address, vote_for(Hash(bytes((number + 1,)) * 32))), at(10)
        )
    ]
    assert sum(isinstance(output, ReportEvidence) for output in outputs) == 1
    assert len(checked) == 2


def test_proposals_that_contradict_each_other_are_read_until_they_are_proof(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    core = started()
    read = count_calls(monkeypatch, proposals, "require_body")
    for number in range(FLOOD):
        core.step(Received(KEYS[LEADER].address, proposal(number)), at(10))
    assert len(read) == 2


def test_one_proposal_under_many_signatures_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    core = started()
    read = count_calls(monkeypatch, proposals, "require_body")
    first = proposal(0)
    for number in range(FLOOD):
        signed = replace(first.vote, signature=bytes((number,)) * 64) if number else first.vote
        core.step(Received(KEYS[LEADER].address, replace(first, vote=signed)), at(10))
    assert len(read) == 1


def test_a_first_proposal_is_kept_though_its_leader_is_known_to_contradict_itself() -> None:
    core = started()
    for number in range(FLOOD):
        core.step(Received(KEYS[LEADER].address, vote_for(Hash(bytes((number + 1,)) * 32))), at(10))
    first = proposal(0)
    core.instance.rounds[View(1)].votes[VoteKind.NOTARIZE].clear()
    core.step(Received(KEYS[LEADER].address, first), at(20))
    assert core.instance.rounds[View(1)].proposal == first
    core.step(Received(KEYS[LEADER].address, replace(first, parent_view=View(0))), at(30))
    assert core.instance.rounds[View(1)].proposal == first
