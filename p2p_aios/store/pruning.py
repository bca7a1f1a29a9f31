"""Deleting the trie nodes that no kept root reaches any more.

The nodes of one block's stale list lie scattered over the whole table, and each costs a page to
delete. So lists are taken a round at a time: merged, sorted and cut into as many lists again, of
which each commit applies one. Its nodes lie together; at a million accounts that spares half of
the pages a commit writes.
"""

from typing import Final

from p2p_aios.errors import Corrupt
from p2p_aios.store.snapshot import NODES, ROOTS, STALE, height_key
from p2p_aios.store.transaction import Writer
from p2p_aios.trie.nodes import ID_BYTES

PRUNE_LISTS_MAX: Final = 64
"""Most stale lists applied in one commit: work stays bounded when the horizon moves."""
PRUNE_NODES_MAX: Final = 50_000
"""After this many nodes no further list is begun in the same commit."""
PRUNE_ROUND_LISTS_MAX: Final = 16
"""Most stale lists sorted among each other; as many blocks more than `keep_blocks` keep theirs."""


def prune(writer: Writer, keep_blocks: int, tip: int) -> None:
    """Apply stale lists that lie `keep_blocks` behind the tip, within bounds.

    Raises Corrupt(`store_damaged`) where a node that they name is gone already.
    """
    round_lists = max(1, min(PRUNE_ROUND_LISTS_MAX, keep_blocks // 4))
    nodes = 0
    for _ in range(PRUNE_LISTS_MAX):
        first = next(writer.items(STALE), None)
        if first is None or nodes >= PRUNE_NODES_MAX:
            return
        height = int.from_bytes(first[0], "big")
        if height > tip - keep_blocks - round_lists + 1:
            return
        if height and writer.get(ROOTS, height_key(height - 1)) is not None:
            _begin_round(writer, height, round_lists)
        nodes += _apply_list(writer, height)


def _begin_round(writer: Writer, first: int, count: int) -> None:
    """Sort the lists of `count` blocks among each other.

    A list takes the tries of all blocks before its own, so the roots go with the first: where a
    list's are gone, its round has begun.
    """
    keys = [height_key(height) for height in range(first, first + count)]
    ids = sorted(node_id for key in keys for node_id in _ids(writer, key))
    for index, key in enumerate(keys):
        low, high = (len(ids) * part // count for part in (index, index + 1))
        writer.put(STALE, key, b"".join(ids[low:high]))
        writer.delete(ROOTS, height_key(first + index - 1))


def _apply_list(writer: Writer, height: int) -> int:
    """Delete the nodes of a list, and the list; how many they were."""
    key = height_key(height)
    stale = _ids(writer, key)
    missing = len(stale) - writer.delete_each(NODES, stale)
    if missing:
        raise Corrupt("store_damaged", f"{missing} trie nodes before block {height} are missing")
    writer.delete(STALE, key)
    return len(stale)


def _ids(writer: Writer, key: bytes) -> list[bytes]:
    ids = writer.get(STALE, key)
    if ids is None:
        raise Corrupt("store_damaged", f"block {int.from_bytes(key, 'big')} has no stale list")
    return [ids[at : at + ID_BYTES] for at in range(0, len(ids), ID_BYTES)]
