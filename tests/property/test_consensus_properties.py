"""Two honest members and a villain, whose messages come in any order, or never: the core does not
raise, signs no conflict across crashes, and keeps no more than its bounds."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from p2p_aios.consensus.committee import Roster
from p2p_aios.consensus.events import (
    Anchor,
    Build,
    Built,
    Connected,
    Disconnected,
    Event,
    Finalize,
    Now,
    Output,
    Persist,
    Received,
    Start,
    Tick,
    Verified,
    Verify,
)
from p2p_aios.consensus.instance import VIEWS_AHEAD_MAX, VIEWS_BEHIND, Identity
from p2p_aios.consensus.records import JournalBirth, Record
from p2p_aios.consensus.simplex import Simplex
from p2p_aios.params import MAINNET
from p2p_aios.types.block import Block, Proposal, block_hash
from p2p_aios.types.message import (
    Backfill,
    CommitteeMessage,
    RequestBlocks,
    RequestCertificates,
    decode_message,
    encode_message,
)
from p2p_aios.types.vote import (
    Ballot,
    Certificate,
    Vote,
    VoteKind,
    ballot_digest,
    is_conflict,
)
from p2p_aios.units import ZERO_HASH, Epoch, Hash, Height, Millis, Signature, View
from testnet.simulate.application import (
    CHAIN_ID,
    GENESIS_MS,
    Ledger,
    make_block,
    simulated_keys,
)

KEYS = sorted((simulated_keys(i) for i in range(4)), key=lambda keys: keys.address)
OTHERS = (1, 2, 3)
VILLAIN = 3
PARAMS = replace(MAINNET, epoch_blocks=3)
TERM = Ledger(KEYS, PARAMS, (100, 100)).next_term()


def leader_of(view: int) -> int:
    return Roster(TERM.committee).leader(View(view))


def block_for(view: int, parent: Hash, height: int, twin: int = 0) -> Block:
    """A block by the view's leader; `twin` tells apart those of an equivocator."""
    at_ms = Millis(GENESIS_MS + 500 * height + twin)
    task = Build(parent, Height(height), Epoch(0), View(view), at_ms, is_empty=False)
    return make_block(task, ZERO_HASH, KEYS[leader_of(view)].address, (bytes((twin + 1,)),))


FIRST = [block_for(view, CHAIN_ID, 1, twin) for view in (1, 2, 3, 4) for twin in (0, 1)]
SECOND = [block_for(view, block_hash(b.header), 2) for view in (3, 5) for b in FIRST[:4]]
BLOCKS = FIRST + SECOND
HASHES = [block_hash(block.header) for block in BLOCKS]


def ballot_on(kind: VoteKind, view: int, block: Hash = ZERO_HASH) -> Ballot:
    return Ballot(kind, Epoch(0), View(view), block)


HONEST = [
    ballot_on(VoteKind.NOTARIZE, 1, HASHES[0]),
    ballot_on(VoteKind.FINALIZE, 1, HASHES[0]),
    ballot_on(VoteKind.NULLIFY, 2),
    ballot_on(VoteKind.NOTARIZE, 3, HASHES[8]),
    ballot_on(VoteKind.NULLIFY, 3),
    ballot_on(VoteKind.NULLIFY, 4),
    ballot_on(VoteKind.NOTARIZE, 5, HASHES[12]),
    ballot_on(VoteKind.FINALIZE, 5, HASHES[12]),
]
"""What members 1 and 2 vote, and with the villain make certificates of. View 3 is notarized and
nullified: both are legal. HASHES[8] and [12] are children of HASHES[0]."""

views = st.one_of(st.integers(1, 6), st.sampled_from([0, 17, 40, 2**40, 2**64 - 1])).map(View)
epochs = st.sampled_from([0, 0, 0, 0, 0, 1, 2]).map(Epoch)


@st.composite
def ballots(draw: st.DrawFn) -> Ballot:
    kind = draw(st.sampled_from(VoteKind))
    block = ZERO_HASH if kind is VoteKind.NULLIFY else draw(st.sampled_from(HASHES))
    if draw(st.integers(0, 19)) == 0:
        block = draw(st.sampled_from([ZERO_HASH, HASHES[0]]))
    return Ballot(kind, draw(epochs), draw(views), block)


def signed(ballot: Ballot, seat: int, is_sound: bool = True) -> Vote:
    signature = KEYS[seat].sign_digest(ballot_digest(CHAIN_ID, ballot))
    return Vote(ballot, seat, signature if is_sound else Signature(b"\x01" * 64))


@st.composite
def honest_messages(draw: st.DrawFn, seat: int) -> CommitteeMessage:
    ballot = draw(st.sampled_from(HONEST))
    match draw(st.integers(0, 4)):
        case 0 | 1:
            votes = [signed(ballot, voter) for voter in OTHERS]
            return Certificate(ballot, OTHERS, tuple(vote.signature for vote in votes))
        case 2:
            return Backfill((draw(st.sampled_from(BLOCKS)),))
        case 3 if ballot.block != ZERO_HASH and leader_of(ballot.view) == seat:
            block = BLOCKS[HASHES.index(ballot.block)]
            own = signed(ballot_on(VoteKind.NOTARIZE, ballot.view, ballot.block), seat)
            return Proposal(block, ballot.view, View(0 if ballot.view == 1 else 1), own)
    return signed(ballot, seat)


@st.composite
def villainous_messages(draw: st.DrawFn) -> CommitteeMessage:
    match draw(st.integers(0, 6)):
        case 0 | 1:
            voter = draw(st.sampled_from([VILLAIN, VILLAIN, VILLAIN, 1]))
            return signed(draw(ballots()), voter, is_sound=voter == VILLAIN)
        case 2 | 3:
            block = draw(st.sampled_from(BLOCKS))
            view = draw(st.one_of(st.just(block.header.view), views))
            ballot = Ballot(VoteKind.NOTARIZE, Epoch(0), view, block_hash(block.header))
            return Proposal(block, view, draw(views), signed(ballot, VILLAIN))
        case 4:
            # One member alone makes no quorum: its other certificates are forgeries.
            ballot = draw(ballots())
            seats = tuple(sorted(draw(st.sets(st.integers(0, 5), min_size=1))))
            return Certificate(ballot, seats, (signed(ballot, VILLAIN).signature,) * len(seats))
        case 5:
            return RequestCertificates(draw(epochs), (draw(views), View(3)))
    return draw(st.one_of(honest_messages(VILLAIN), st.just(RequestBlocks(HASHES[0], 7))))


@st.composite
def events(draw: st.DrawFn) -> Event:
    seat = draw(st.sampled_from(OTHERS))
    peer = KEYS[seat].address
    choices: list[Event] = [Tick(), Connected(peer), Disconnected(peer)]
    if draw(st.integers(0, 9)) < 8:
        is_villain = seat == VILLAIN
        return Received(peer, draw(villainous_messages() if is_villain else honest_messages(seat)))
    return draw(st.sampled_from(choices))


class Host:
    """Runs the core with an obedient driver, and remembers every vote it signed."""

    def __init__(self) -> None:
        self.anchor = Anchor(CHAIN_ID, Height(0), Millis(GENESIS_MS), None)
        self.journal: list[Record] = []
        self.votes: list[Vote] = []
        self.now_ms = 0
        self.restart()

    def restart(self) -> None:
        birth = JournalBirth(Millis(GENESIS_MS), Height(0))
        identity = Identity(CHAIN_ID, PARAMS, KEYS[0])
        self.core = Simplex(identity, self.anchor, TERM, self.journal, birth)
        self.feed(Start())

    def feed(self, event: Event) -> None:
        for output in self.core.step(event, Now(self.now_ms, GENESIS_MS + self.now_ms)):
            self.obey(output)

    def obey(self, output: Output) -> None:
        match output:
            case Persist(records):
                self.journal.extend(records)
                self.votes.extend(r for r in records if isinstance(r, Vote))
            case Finalize(blocks, certificate):
                header = blocks[-1].header
                name, at_ms = block_hash(header), header.timestamp_ms
                self.anchor = Anchor(name, header.height, at_ms, certificate)
            case Build():
                self.feed(Built(make_block(output, ZERO_HASH, KEYS[0].address, ())))
            case Verify(block):
                self.feed(Verified(block_hash(block.header), None))

    def require_honesty(self) -> None:
        for i, first in enumerate(self.votes):
            for second in self.votes[:i]:
                assert not is_conflict(first.ballot, second.ballot)
                same_view = first.ballot.view == second.ballot.view
                assert not (same_view and first.ballot.kind is second.ballot.kind)

    def require_bounds(self) -> None:
        x = self.core.instance
        assert all(x.floor <= view <= x.view + VIEWS_AHEAD_MAX for view in x.rounds)
        assert len(x.rounds) <= VIEWS_BEHIND + VIEWS_AHEAD_MAX + x.view
        assert len(x.candidates) <= len(BLOCKS) + len(self.votes)


steps = st.lists(st.tuples(st.sampled_from([0, 50, 700, 700]), events()), max_size=60)


@settings(max_examples=80)
@given(steps, st.sets(st.integers(0, 59), max_size=3))
def test_the_core_is_honest_and_bounded_whatever_it_hears(
    script: list[tuple[int, Event]], crashes: set[int]
) -> None:
    host = Host()
    for index, (elapsed_ms, event) in enumerate(script):
        host.now_ms += elapsed_ms
        if index in crashes:
            host.restart()
        host.feed(event)
        host.require_bounds()
    host.require_honesty()


@given(st.one_of(honest_messages(1), villainous_messages()))
def test_every_message_survives_its_encoding(message: CommitteeMessage) -> None:
    assert decode_message(encode_message(message)) == message
