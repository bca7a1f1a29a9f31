"""Consensus dialogues a person can read: what one validator hears, and what it does.

In each `*.txt` beside this file, lines that begin with `>` are events and the lines below them the
outputs, in order. We are member A of A, B, C, D, equal in weight, leading in that order. Times are
milliseconds since genesis; a block's is written `at +T`. Set AIOS_REWRITE=1 to write down what the
core does now; then read the difference.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from p2p_aios.consensus.committee import Roster
from p2p_aios.consensus.events import (
    Anchor,
    Build,
    Built,
    CatchUp,
    Connected,
    Disconnected,
    EpochReady,
    Event,
    Finalize,
    Now,
    Output,
    Persist,
    Postponed,
    Received,
    Refused,
    ReportEvidence,
    Send,
    SetTimer,
    Start,
    Synced,
    Term,
    Tick,
    Verified,
    Verify,
)
from p2p_aios.consensus.instance import Identity
from p2p_aios.consensus.records import JournalBirth, Record, Silenced
from p2p_aios.consensus.simplex import Simplex
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.params import MAINNET
from p2p_aios.types.block import Block, Header, Proposal, block_hash, transactions_root
from p2p_aios.types.committee import Committee, Member
from p2p_aios.types.message import Backfill, CommitteeMessage, RequestBlocks, RequestCertificates
from p2p_aios.types.vote import Ballot, Certificate, Vote, VoteKind, ballot_digest
from p2p_aios.units import ZERO_HASH, Address, Epoch, Hash, Height, Millis, View

FOLDER = Path(__file__).parent
CHAIN_ID = sha256(b"transcripts")
GENESIS_MS = 1_700_000_000_000
NAMES = "ABCD"
KEYS = sorted(
    (KeyPair.from_secret(sha256(b"transcript" + bytes((i,)))) for i in range(4)),
    key=lambda keys: keys.address,
)
BIRTH = JournalBirth(Millis(GENESIS_MS), Height(0))
GENESIS = Anchor(CHAIN_ID, Height(0), Millis(GENESIS_MS), None)
CERTIFICATES = {
    "notarization": VoteKind.NOTARIZE,
    "nullification": VoteKind.NULLIFY,
    "finalization": VoteKind.FINALIZE,
}


def committee(epoch: int) -> Committee:
    """The four, with the first seed under which they lead in the order of their names."""
    members = tuple(Member(k.address, k.public_key, k.address, 100) for k in KEYS)
    for attempt in range(1000):
        candidate = Committee(
            Epoch(epoch), members, sha256(b"seed" + bytes((epoch, attempt % 256)))
        )
        if [Roster(candidate).leader(View(v)) for v in (1, 2, 3, 4)] == [0, 1, 2, 3]:
            return candidate
    raise AssertionError("no seed orders the leaders")


def make_block(parent: Block | None, epoch: int, view: int, by: str, at_ms: int) -> Block:
    body = (b"transaction of " + by.encode(),)
    header = Header(
        chain_id=CHAIN_ID,
        height=Height(parent.header.height + 1 if parent else 1),
        epoch=Epoch(epoch),
        view=View(view),
        parent=block_hash(parent.header) if parent else CHAIN_ID,
        timestamp_ms=Millis(GENESIS_MS + at_ms),
        proposer=KEYS[NAMES.index(by)].address,
        reveal=ZERO_HASH,
        tx_root=transactions_root(body),
        receipts_root=ZERO_HASH,
        state_root=ZERO_HASH,
        pash_root=ZERO_HASH,
        committee_hash=ZERO_HASH,
    )
    return Block(header, body)


@dataclass
class Dialogue:
    """One validator, its disk, and the names the transcript gives to blocks."""

    epoch_blocks: int = 40
    now_ms: int = 0
    blocks: dict[str, Block] = field(default_factory=dict)
    journal: list[Record] = field(default_factory=list)
    birth: JournalBirth = BIRTH
    anchor: Anchor = GENESIS
    building: Build | None = None
    core: Simplex | None = None
    epoch: int = 0

    # Events

    def run(self, words: list[str]) -> tuple[Output, ...]:
        match words:
            case ["epoch_blocks", count]:
                self.epoch_blocks = int(count)
            case ["at", time]:
                self.now_ms = int(time)
            case ["block", name, "on", parent, "by", by, "view", view, "at", at]:
                self.blocks[name] = make_block(
                    self.blocks.get(parent), self.epoch, int(view), by, int(at)
                )
            case ["lose", "journal"]:
                self.journal.clear()
                self.birth = JournalBirth(Millis(GENESIS_MS + self.now_ms), self.anchor.height)
            case ["crash"]:
                self.core = None
            case _:
                return self.feed(self.event(words))
        return ()

    def feed(self, event: Event) -> tuple[Output, ...]:
        assert self.core is not None, "start first"
        outputs = self.core.step(event, Now(self.now_ms, GENESIS_MS + self.now_ms))
        for output in outputs:
            self.note(output)
        return outputs

    def note(self, output: Output) -> None:
        match output:
            case Persist(records):
                self.journal.extend(records)
            case Build():
                self.building = output
            case Finalize(blocks, certificate):
                header = blocks[-1].header
                name = block_hash(header)
                self.anchor = Anchor(name, header.height, header.timestamp_ms, certificate)

    def event(self, words: list[str]) -> Event:
        match words:
            case ["start"]:
                self.core = Simplex(
                    Identity(CHAIN_ID, replace(MAINNET, epoch_blocks=self.epoch_blocks), KEYS[0]),
                    self.anchor,
                    self.term(),
                    self.journal,
                    self.birth,
                )
                return Start()
            case ["tick"]:
                return Tick()
            case ["built", name]:
                assert self.building is not None, "nothing was asked to be built"
                task = self.building
                parent = next((b for b in self.blocks.values() if is_named(b, task.parent)), None)
                at = task.timestamp_ms - GENESIS_MS
                self.blocks[name] = make_block(parent, task.epoch, task.view, "A", at)
                return Built(self.blocks[name])
            case ["verified", name]:
                return Verified(self.hash_of(name), None)
            case ["postponed", name]:
                return Postponed(self.hash_of(name))
            case ["invalid", name, code]:
                return Verified(self.hash_of(name), code)
            case ["connected", peer]:
                return Connected(address(peer))
            case ["disconnected", peer]:
                return Disconnected(address(peer))
            case ["epoch", number]:
                self.epoch = int(number)
                return EpochReady(self.term())
            case ["synced", name, "view", view]:
                header = self.blocks[name].header
                final = self.certificate(VoteKind.FINALIZE, int(view), name, "BCD")
                self.anchor = Anchor(block_hash(header), header.height, header.timestamp_ms, final)
                return Synced(self.anchor, self.term())
            case [*message, "from", peer]:
                return Received(address(peer), self.message(message, peer))
        raise AssertionError(f"no such event: {' '.join(words)}")

    def term(self) -> Term:
        started = self.anchor.timestamp_ms if self.epoch else Millis(GENESIS_MS)
        return Term(committee(self.epoch), started)

    def message(self, words: list[str], peer: str) -> CommitteeMessage:
        match words:
            case ["proposal", name, "view", view, "parent", parent_view]:
                vote = self.vote(VoteKind.NOTARIZE, int(view), name, peer)
                return Proposal(self.blocks[name], View(int(view)), View(int(parent_view)), vote)
            case ["ask", "views", *views]:
                return RequestCertificates(Epoch(self.epoch), tuple(View(int(v)) for v in views))
            case ["ask", "block", name]:
                return RequestBlocks(self.hash_of(name), 7)
            case ["blocks", *names]:
                return Backfill(tuple(self.blocks[name] for name in names))
            case [kind, view, *name, "by", signers] if kind in CERTIFICATES:
                block = name[0] if name else None
                return self.certificate(CERTIFICATES[kind], int(view), block, signers)
            case [kind, view, *name]:
                return self.vote(VoteKind[kind.upper()], int(view), name[0] if name else None, peer)
        raise AssertionError(f"no such message: {' '.join(words)}")

    def vote(self, kind: VoteKind, view: int, block: str | None, by: str) -> Vote:
        named = self.hash_of(block) if block else ZERO_HASH
        ballot = Ballot(kind, Epoch(self.epoch), View(view), named)
        seat = NAMES.index(by)
        return Vote(ballot, seat, KEYS[seat].sign_digest(ballot_digest(CHAIN_ID, ballot)))

    def certificate(
        self, kind: VoteKind, view: int, block: str | None, signers: str
    ) -> Certificate:
        votes = [self.vote(kind, view, block, by) for by in signers]
        return Certificate(
            votes[0].ballot, tuple(v.seat for v in votes), tuple(v.signature for v in votes)
        )

    def hash_of(self, name: str) -> Hash:
        return block_hash(self.blocks[name].header)

    # Outputs

    def told(self, output: Output) -> str:
        match output:
            case Persist(records):
                return "persist " + ", ".join(self.worded(record) for record in records)
            case Send(recipients, message):
                to = "all" if len(recipients) == 3 else " ".join(map(name_of, recipients))
                return f"send {to}: {self.worded(message)}"
            case Build():
                at = output.timestamp_ms - GENESIS_MS
                empty = " empty" if output.is_empty else ""
                parent = self.name_of_block(output.parent)
                return (
                    f"build on {parent} height {output.height} view {output.view} at +{at}{empty}"
                )
            case Verify(block):
                return f"verify {self.name_of_block(block_hash(block.header))}"
            case Finalize(blocks, certificate):
                names = " ".join(self.name_of_block(block_hash(b.header)) for b in blocks)
                return f"final {names} by view {certificate.ballot.view}"
            case SetTimer(monotonic_ms):
                return f"timer {monotonic_ms}"
            case CatchUp(peer):
                return f"catch up with {name_of(peer)}"
            case ReportEvidence(first, second):
                accused = NAMES[first.seat]
                return f"evidence against {accused}: {self.worded(first)}, {self.worded(second)}"
            case Refused(peer, code):
                return f"refuse {name_of(peer)}: {code}"

    def worded(self, thing: CommitteeMessage | Record) -> str:
        match thing:
            case Proposal(block, view, parent_view):
                name = self.name_of_block(block_hash(block.header))
                return f"proposal {name} view {view} parent {parent_view}"
            case Vote(ballot):
                return self.worded_ballot(ballot.kind.name.lower(), ballot)
            case Certificate(ballot, seats):
                noun = next(noun for noun, kind in CERTIFICATES.items() if kind is ballot.kind)
                return f"{self.worded_ballot(noun, ballot)} by {''.join(NAMES[s] for s in seats)}"
            case RequestCertificates(_, views):
                return "ask views " + " ".join(map(str, views))
            case RequestBlocks(block):
                return f"ask block {self.name_of_block(block)}"
            case Backfill(blocks):
                return "blocks " + " ".join(
                    self.name_of_block(block_hash(b.header)) for b in blocks
                )
            case Silenced(epoch):
                return f"silence in epoch {epoch}"

    def worded_ballot(self, kind: str, ballot: Ballot) -> str:
        block = "" if ballot.block == ZERO_HASH else f" {self.name_of_block(ballot.block)}"
        return f"{kind} {ballot.view}{block}"

    def name_of_block(self, block: Hash) -> str:
        if block == CHAIN_ID:
            return "genesis"
        return next(name for name, known in self.blocks.items() if is_named(known, block))


def is_named(block: Block, name: Hash) -> bool:
    return block_hash(block.header) == name


def address(name: str) -> Address:
    return KEYS[NAMES.index(name)].address


def name_of(peer: Address) -> str:
    return next(NAMES[i] for i, keys in enumerate(KEYS) if keys.address == peer)


def replay(text: str) -> Iterator[str]:
    """The transcript's lines, with the outputs as they come now."""
    dialogue = Dialogue()
    for line in text.splitlines():
        if line.startswith(">"):
            yield line
            for output in dialogue.run(line[1:].split()):
                yield "  " + dialogue.told(output)
        elif not line.startswith("  "):
            yield line


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.txt")), ids=lambda path: path.stem)
def test_the_dialogue_goes_as_written(path: Path) -> None:
    written = path.read_text()
    actual = "\n".join(replay(written)) + "\n"
    if os.environ.get("AIOS_REWRITE") == "1":
        path.write_text(actual)
    assert actual == path.read_text()


def test_there_are_dialogues() -> None:
    assert len(list(FOLDER.glob("*.txt"))) >= 8
