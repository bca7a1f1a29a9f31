"""The chain store's tables, and reading several of them as of one moment."""

from collections.abc import Iterator
from typing import Any, Final, Self

from p2p_aios.codec import schema
from p2p_aios.errors import Corrupt, Invalid
from p2p_aios.store.records import Place, Roots, Tip
from p2p_aios.store.transaction import Reader
from p2p_aios.trie.nodes import ID_BYTES
from p2p_aios.units import Height

META: Final = "meta"
BLOCKS: Final = "blocks"
HEIGHTS: Final = "heights"
CERTIFICATES: Final = "certificates"
OUTCOMES: Final = "outcomes"
TRANSACTIONS: Final = "transactions"
STATE: Final = "state"
NODES: Final = "nodes"
STALE: Final = "stale"
ROOTS: Final = "roots"
TABLES: Final = (
    META,
    BLOCKS,
    HEIGHTS,
    CERTIFICATES,
    OUTCOMES,
    TRANSACTIONS,
    STATE,
    NODES,
    STALE,
    ROOTS,
)
CHAIN: Final = b"chain"
TIP: Final = b"tip"


class Snapshot:
    """The chain as of one moment, in one read transaction. A context manager; leave it soon."""

    __slots__ = ("_reader",)

    def __init__(self, reader: Reader) -> None:
        """For `ChainStore.snapshot` only."""
        self._reader = reader

    def tip(self) -> Tip | None:
        """None before genesis."""
        return read_tip(self._reader)

    def read_state(self, key: bytes) -> bytes | None:
        return self._reader.get(STATE, key)

    def state_items(self, prefix: bytes = b"", first: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """(key, value) of the latest state, ascending from key `first`, of the keys that begin with
        `prefix`."""
        return self._reader.items(STATE, first, prefix)

    def read_node(self, node_id: bytes) -> bytes | None:
        """Stored trie node."""
        return self._reader.get(NODES, node_id)

    def read_roots(self, height: int) -> Roots | None:
        """Roots after the block; None where it is unknown or its tries were pruned."""
        value = self._reader.get(ROOTS, height_key(height))
        return None if value is None else _decode(Roots, value)

    def read_block(self, height: int) -> bytes | None:
        return self._reader.get(BLOCKS, height_key(height))

    def read_certificate(self, height: int) -> bytes | None:
        return self._reader.get(CERTIFICATES, height_key(height))

    def read_outcome(self, height: int) -> bytes | None:
        return self._reader.get(OUTCOMES, height_key(height))

    def find_block(self, block_hash: bytes) -> Height | None:
        value = self._reader.get(HEIGHTS, block_hash)
        return None if value is None else Height(int.from_bytes(value, "big"))

    def find_transaction(self, transaction: bytes) -> Place | None:
        value = self._reader.get(TRANSACTIONS, transaction)
        if value is None:
            return None
        return Place(Height(int.from_bytes(value[:8], "big")), int.from_bytes(value[8:], "big"))

    def blocks(self, first: int) -> Iterator[tuple[Height, bytes, bytes | None]]:
        """(height, block, certificate or None) from height `first` to the tip."""
        for key, block in self._reader.items(BLOCKS, first=height_key(first)):
            yield Height(int.from_bytes(key, "big")), block, self._reader.get(CERTIFICATES, key)

    def find_certificate(self, first: int) -> tuple[Height, bytes] | None:
        """The first certificate at or after height `first`: it finalizes all blocks before it."""
        for key, certificate in self._reader.items(CERTIFICATES, first=height_key(first)):
            return Height(int.from_bytes(key, "big")), certificate
        return None

    def node_ids(self) -> Iterator[bytes]:
        """Ids of all stored trie nodes, ascending."""
        return (key for key, _ in self._reader.items(NODES))

    def stale_ids(self) -> Iterator[bytes]:
        """Ids of stored trie nodes that the tip's tries no longer hold, as the kept lists say."""
        for _, ids in self._reader.items(STALE):
            yield from (ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES))

    def counts(self) -> dict[str, int]:
        """Entries of each table."""
        return {table: self._reader.count(table) for table in TABLES}

    def close(self) -> None:
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_tip(reader: Reader) -> Tip | None:
    value = reader.get(META, TIP)
    return None if value is None else _decode(Tip, value)


def _decode(kind: type, value: bytes) -> Any:
    try:
        return schema.decode(kind, value)
    except Invalid as error:
        raise Corrupt("store_damaged", f"a {kind.__name__} record is damaged: {error}") from None


def height_key(height: int) -> bytes:
    return height.to_bytes(8, "big")
