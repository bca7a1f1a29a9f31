"""kill -9 in the middle of writes: nothing acknowledged is lost, nothing half-written is seen."""

import subprocess
import sys
import time
from pathlib import Path

from p2p_aios.codec.cid import matches, parse_cid
from p2p_aios.storage.blobs import BlobStore
from p2p_aios.units import Height

WRITER = """
import itertools, os, sys
from pathlib import Path
from p2p_aios.codec.cid import format_cid
from p2p_aios.storage.blobs import BlobStore

store = BlobStore(Path(sys.argv[1]))
for number in itertools.count(int(sys.argv[2])):
    data = number.to_bytes(8, "big") * (1 + number % 4000)
    cid = store.put(data, until=number)
    os.write(1, f"{number} {format_cid(cid)}\\n".encode())
"""
ROUNDS = 4


def acknowledged(root: Path, first: int, lifetime_s: float) -> list[tuple[int, str]]:
    """Start a writer, kill it, return what it said it had stored."""
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(root), str(first)], stdout=subprocess.PIPE
    ) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline()]  # it runs
        time.sleep(lifetime_s)
        writer.kill()
        lines += writer.stdout.read().split(b"\n")
    complete = [line.decode().split() for line in lines if line.count(b" ") == 1]
    return [(int(number), cid) for number, cid in complete if len(cid) == 59]


def test_killed_again_and_again(tmp_path: Path) -> None:
    stored: dict[str, int] = {}
    for turn in range(ROUNDS):
        first = 1 + max(stored.values(), default=0)
        stored |= {cid: number for number, cid in acknowledged(tmp_path, first, 0.05 * turn)}
        store = BlobStore(tmp_path)
        held = list(store)
        for cid in held:
            data = store.get(cid)
            assert data is not None
            assert matches(cid, data)
            assert store.pinned_until(cid) is not None  # so it will be collected one day
        assert {parse_cid(text) for text in stored} <= set(held)
        assert store.damaged_count == 0
        store.close()
    assert len(stored) >= ROUNDS
    store = BlobStore(tmp_path)
    last = max(stored.values())
    store.collect(Height(last))
    assert {stored[text] for text in stored if store.has(parse_cid(text))} == {last}
    store.close()
