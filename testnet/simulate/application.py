"""A tiny deterministic ledger: real headers, a state root that chains the transactions."""

from dataclasses import replace

from p2p_aios.consensus.committee import last_height
from p2p_aios.consensus.events import Anchor, Build, Term
from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.params import MAINNET, Params
from p2p_aios.types.block import Block, FinalizedBlock, Header, block_hash, transactions_root
from p2p_aios.types.committee import Committee, Member
from p2p_aios.units import ZERO_HASH, Address, Epoch, Hash, Height, Millis

CHAIN_ID = sha256(b"simulated chain")
GENESIS_MS = Millis(1_700_000_000_000)


def simulated_keys(index: int) -> KeyPair:
    return KeyPair.from_secret(sha256(b"simulated validator" + bytes((index,))))


def state_after(parent_state: Hash, height: int, transactions: tuple[bytes, ...]) -> Hash:
    return sha256(parent_state + height.to_bytes(8, "big") + b"".join(transactions))


def make_block(
    task: Build, parent_state: Hash, proposer: Address, transactions: tuple[bytes, ...]
) -> Block:
    """The block a `Build` output asks for."""
    header = Header(
        chain_id=CHAIN_ID,
        height=task.height,
        epoch=task.epoch,
        view=task.view,
        parent=task.parent,
        timestamp_ms=task.timestamp_ms,
        proposer=proposer,
        reveal=ZERO_HASH,
        tx_root=transactions_root(transactions),
        receipts_root=ZERO_HASH,
        state_root=state_after(parent_state, task.height, transactions),
        pash_root=ZERO_HASH,
        committee_hash=ZERO_HASH,
    )
    return Block(header, transactions)


def make_committee(
    epoch: Epoch, keys: list[KeyPair], seed: Hash, weights: tuple[int, int] = (100, 100)
) -> Committee:
    """All validators, ascending by address, with weights drawn from the seed."""
    low, high = weights
    members = [
        Member(
            k.address,
            k.public_key,
            k.address,
            low + int.from_bytes(sha256(seed + k.address)[:4], "big") % (high - low + 1),
        )
        for k in keys
    ]
    return Committee(epoch, tuple(sorted(members, key=lambda m: m.address)), seed)


class Ledger:
    """One validator's disk: finalized blocks, each with the state after it."""

    def __init__(self, keys: list[KeyPair], params: Params, weights: tuple[int, int]) -> None:
        self._keys = keys
        self._params = params
        self._weights = weights
        self.blocks: list[FinalizedBlock] = []
        """Height 1 first."""
        self.states: dict[Hash, Hash] = {CHAIN_ID: ZERO_HASH}

    @property
    def height(self) -> Height:
        return Height(len(self.blocks))

    def hash_at(self, height: int) -> Hash:
        return block_hash(self.blocks[height - 1].block.header) if height else CHAIN_ID

    def timestamp_at(self, height: int) -> Millis:
        return self.blocks[height - 1].block.header.timestamp_ms if height else GENESIS_MS

    def anchor(self) -> Anchor:
        """The tip, as the consensus core is told of it."""
        height = self.height
        certificate = self.blocks[-1].certificate if self.blocks else None
        return Anchor(self.hash_at(height), height, self.timestamp_at(height), certificate)

    def append(self, finalized: FinalizedBlock) -> None:
        header = finalized.block.header
        self.blocks.append(finalized)
        self.states[block_hash(header)] = header.state_root

    def next_term(self) -> Term:
        """Of the epoch the next block belongs to."""
        epoch = Epoch(self.height // self._params.epoch_blocks)
        return self.term(epoch)

    def term(self, epoch: Epoch) -> Term:
        base = last_height(Epoch(epoch - 1), self._params.epoch_blocks) if epoch else Height(0)
        committee = make_committee(epoch, self._keys, self.hash_at(base), self._weights)
        return Term(committee, self.timestamp_at(base))


def simulated_params(epoch_blocks: int) -> Params:
    """Mainnet's, with epochs short enough to see several."""
    return replace(MAINNET, epoch_blocks=epoch_blocks)
