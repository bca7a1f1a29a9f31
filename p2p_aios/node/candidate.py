"""Candidate blocks: executed above the finalized state, kept in memory until one is final.

Each block is executed once into a flat diff, new trie nodes and a stale list, chained to its
parent's (DESIGN §6, "Execution"). Everything here is a function of its arguments and runs in a
worker thread; `chain` keeps the tree.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from p2p_aios.crypto.merkle import merkle_root
from p2p_aios.errors import Invalid
from p2p_aios.ledger.environment import BlockContext
from p2p_aios.ledger.execute import Execution, build_block, execute_block
from p2p_aios.ledger.queries import header_committee_hash
from p2p_aios.params import Params
from p2p_aios.trie.bulk import Change, update
from p2p_aios.trie.codec import EMPTY_PASH_ROOT, STATE_CODEC, state_path
from p2p_aios.trie.nodes import root_hash
from p2p_aios.types.block import Block, Header, block_hash
from p2p_aios.types.receipt import EncodedOutcome, encode_outcome
from p2p_aios.types.transaction import CheckedTransaction
from p2p_aios.units import Address, Epoch, Hash, Height, Millis, View

ReadBytes = Callable[[bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """An executed block that is not yet final."""

    block: Block
    hash: Hash
    transactions: tuple[CheckedTransaction, ...]
    execution: Execution = field(repr=False)
    change: Change = field(repr=False)
    """New trie nodes, stale ones and the root after this block."""
    outcome: EncodedOutcome = field(repr=False)
    """Receipts and events, as they were encoded for the header's root."""


@dataclass(frozen=True, slots=True)
class Ground:
    """What a block is executed on: the state after its parent."""

    params: Params
    chain_id: Hash
    parent: Hash
    height: Height
    """Of the parent."""
    root: bytes | None
    """Reference of the state trie's root."""
    layers: tuple[Candidate, ...]
    """Unfinalized ancestors, the parent first."""
    read_state: ReadBytes
    """Finalized flat state by key."""
    read_node: ReadBytes
    """Finalized trie nodes by append id."""

    def get(self, key: bytes) -> bytes | None:
        """The state value at `key` (`ledger.state.StateReader`)."""
        for layer in self.layers:
            writes = layer.execution.writes
            if key in writes:
                return writes[key]
        return self.read_state(key)

    def node(self, node_id: bytes) -> bytes | None:
        for layer in self.layers:
            stored = layer.change.nodes.get(node_id)
            if stored is not None:
                return stored
        return self.read_node(node_id)


@dataclass(frozen=True, slots=True)
class Slot:
    """Where and when a block is built, and by whom."""

    epoch: Epoch
    view: View
    timestamp_ms: Millis
    proposer: Address
    reveal: Hash


def build_candidate(
    ground: Ground, slot: Slot, waiting: Sequence[CheckedTransaction], next_id: int
) -> tuple[Candidate, tuple[tuple[CheckedTransaction, Invalid], ...]]:
    """A new block from waiting transactions, executed; with those it could not include, and why."""
    built = build_block(ground, _context(ground, slot), waiting)
    body = tuple(transaction.raw for transaction in built.transactions)
    change = _change(ground, built.execution, next_id)
    outcome = encode_outcome(built.execution.receipts, built.execution.events)
    header = _header(ground, slot, body, outcome, change)
    candidate = Candidate(
        Block(header, body),
        block_hash(header),
        built.transactions,
        built.execution,
        change,
        outcome,
    )
    return candidate, built.rejected


def execute_candidate(
    ground: Ground, block: Block, transactions: tuple[CheckedTransaction, ...], next_id: int
) -> Candidate:
    """Execute a proposed block and compare every commitment of its header.

    Raises Invalid: `wrong_chain`, what `execute_block` raises, and `<field>_wrong` for the first
    header field that is not what execution yields.
    """
    given = block.header
    if given.chain_id != ground.chain_id:
        raise Invalid("wrong_chain", "the block was made for another chain")
    slot = Slot(given.epoch, given.view, given.timestamp_ms, given.proposer, given.reveal)
    execution = execute_block(ground, _context(ground, slot, given.height), transactions)
    change = _change(ground, execution, next_id)
    outcome = encode_outcome(execution.receipts, execution.events)
    expected = _header(ground, slot, block.transactions, outcome, change)
    if expected != given:
        name = next(n for n in Header.__slots__ if getattr(expected, n) != getattr(given, n))
        raise Invalid(f"{name}_wrong", f"the header's {name} is not what execution yields")
    return Candidate(block, block_hash(given), transactions, execution, change, outcome)


def _context(ground: Ground, slot: Slot, height: Height | None = None) -> BlockContext:
    return BlockContext(
        chain_id=ground.chain_id,
        params=ground.params,
        height=Height(ground.height + 1) if height is None else height,
        epoch=slot.epoch,
        timestamp_ms=slot.timestamp_ms,
        proposer=slot.proposer,
        reveal=slot.reveal,
    )


def _change(ground: Ground, execution: Execution, next_id: int) -> Change:
    items = {state_path(key): value for key, value in execution.writes.items()}
    return update(STATE_CODEC, ground.node, ground.root, items, next_id)


def _header(
    ground: Ground,
    slot: Slot,
    body: tuple[bytes, ...],
    outcome: EncodedOutcome,
    change: Change,
) -> Header:
    return Header(
        chain_id=ground.chain_id,
        height=Height(ground.height + 1),
        epoch=slot.epoch,
        view=slot.view,
        parent=ground.parent,
        timestamp_ms=slot.timestamp_ms,
        proposer=slot.proposer,
        reveal=slot.reveal,
        tx_root=merkle_root(body),
        receipts_root=outcome.root(),
        state_root=root_hash(STATE_CODEC, change.root),
        # No contribution is scored yet: the trie with its two sums is there, and empty.
        pash_root=EMPTY_PASH_ROOT,
        committee_hash=header_committee_hash(ground, slot.epoch),
    )
