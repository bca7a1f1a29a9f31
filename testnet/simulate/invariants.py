"""What must hold in every simulated world, checked as it happens."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Protocol

from p2p_aios.crypto.keys import KeyPair
from p2p_aios.params import Params
from p2p_aios.types.block import Block, Proposal, block_hash
from p2p_aios.types.message import CommitteeMessage
from p2p_aios.types.vote import Vote, VoteKind, is_conflict
from p2p_aios.units import Address, Hash
from testnet.simulate.application import CHAIN_ID, GENESIS_MS, Ledger
from testnet.simulate.conditions import Conditions

BLOCKS_AFTER_HEALING = 4
"""Progress asked of every honest validator between healing and the end."""


class Watched(Protocol):
    """What is seen of a validator."""

    index: int
    keys: KeyPair
    ledger: Ledger
    persisted: set[Vote]
    """Every vote that ever was durable."""


class Invariants:
    """Sees what honest validators send and finalize."""

    def __init__(self, params: Params, honest: list[Address]) -> None:
        self._params = params
        self._honest = frozenset(honest)
        self._final: dict[int, Hash] = {0: CHAIN_ID}
        self._timestamps: dict[int, int] = {0: GENESIS_MS}
        self._votes: dict[tuple[Address, int, int], list[Vote]] = defaultdict(list)
        self.evidence: list[tuple[Vote, Vote]] = []
        self.refusals: dict[str, int] = defaultdict(int)
        self.nullified_views = 0

    def on_finalized(self, validator: Watched, block: Block) -> None:
        """One block per height, each on the one before, an interval apart."""
        if validator.keys.address not in self._honest:
            return
        header, name = block.header, block_hash(block.header)
        known = self._final.setdefault(header.height, name)
        assert known == name, f"two blocks are final at height {header.height}"
        assert self._final[header.height - 1] == header.parent, (
            "a height does not follow its parent"
        )
        before = self._timestamps[header.height - 1]
        assert header.timestamp_ms >= before + self._params.block_interval_ms, "blocks too close"
        self._timestamps[header.height] = header.timestamp_ms
        epoch = (header.height - 1) // self._params.epoch_blocks
        assert header.epoch == epoch, "a block belongs to another epoch"

    def on_send(self, validator: Watched, message: CommitteeMessage) -> None:
        """Honest votes are durable before they leave, and never conflict: crashes or not."""
        vote = message.vote if isinstance(message, Proposal) else message
        if not isinstance(vote, Vote) or validator.keys.address not in self._honest:
            return
        ballot = vote.ballot
        earlier = self._votes[validator.keys.address, ballot.epoch, ballot.view]
        if vote in earlier:
            return
        assert vote in validator.persisted, "a vote left before it was durable"
        for other in earlier:
            assert not is_conflict(other.ballot, ballot), f"conflicting: {other.ballot} {ballot}"
            assert other.ballot.kind is not ballot.kind, f"voted twice: {other.ballot} {ballot}"
        earlier.append(vote)
        self.nullified_views += ballot.kind is VoteKind.NULLIFY

    def on_evidence(self, validator: Watched, first: Vote, second: Vote) -> None:
        """Only villains are ever accused by honest validators, and with proof."""
        if validator.keys.address not in self._honest:
            return
        assert is_conflict(first.ballot, second.ballot), "evidence without a conflict"
        self.evidence.append((first, second))
        term = validator.ledger.term(first.ballot.epoch)
        accused = term.committee.members[first.seat].address
        assert accused not in self._honest, "an honest validator is accused"

    def on_refused(self, validator: Watched, peer: Address, code: str) -> None:
        """Honest validators never find fault with each other."""
        if validator.keys.address in self._honest:
            self.refusals[code] += 1
            assert peer not in self._honest, f"an honest message was refused: {code}"

    def require_progress(
        self, honest: Sequence[Watched], height_healed: int, conditions: Conditions
    ) -> None:
        """Once the world has healed everyone gets on."""
        for validator in honest:
            reached = validator.ledger.height
            assert reached >= height_healed + BLOCKS_AFTER_HEALING, (
                f"validator {validator.index} stands at {reached}, "
                f"{height_healed} was final at {conditions.heal_ms} ms"
            )
