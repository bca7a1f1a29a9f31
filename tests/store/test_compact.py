"""Compaction: the file shrinks, nothing is lost, and dying at any moment harms nothing."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.store import compact as module
from p2p_aios.store.chain import KIND, VERSION, ChainStore
from p2p_aios.store.compact import COPY_FOLDER, compact_chain
from p2p_aios.store.lmdb import DATA_FILE, open_environment
from p2p_aios.store.snapshot import BLOCKS, TABLES

BALLAST = 400


def grow(growth: ModuleType, folder: Path) -> None:
    """A chain whose file once held much more than it does now."""
    world = growth.Growth(1)
    with ChainStore.open(folder, growth.CHAIN_ID, keep_blocks=3, sync=False) as store:
        for _ in range(10):
            store.commit(world.batch(store, 1))
    keys = [b"ballast %04d" % number for number in range(BALLAST)]
    with open_environment(folder, KIND, VERSION, TABLES, sync=False) as environment:
        environment.write(lambda w: [w.put(BLOCKS, key, bytes(20_000)) for key in keys])
        environment.write(lambda w: w.delete_each(BLOCKS, keys))


def check(growth: ModuleType, folder: Path) -> None:
    with ChainStore.open(folder, growth.CHAIN_ID, keep_blocks=3, sync=False) as store:
        assert growth.Growth(1).check(store, 3) >= 9


def test_the_file_shrinks_and_goes_on_growing(growth: ModuleType, tmp_path: Path) -> None:
    grow(growth, tmp_path)
    (tmp_path / COPY_FOLDER).mkdir()
    (tmp_path / COPY_FOLDER / DATA_FILE).write_bytes(b"left by one that died")
    size = (tmp_path / DATA_FILE).stat().st_size
    done = compact_chain(tmp_path)
    assert done.before_bytes == size > BALLAST * 20_000
    assert done.after_bytes == (tmp_path / DATA_FILE).stat().st_size < size // 10
    assert not (tmp_path / COPY_FOLDER).exists()
    check(growth, tmp_path)
    with ChainStore.open(tmp_path, growth.CHAIN_ID, keep_blocks=3) as store:
        store.commit(growth.Growth(1).batch(store, 2))
    check(growth, tmp_path)
    again = compact_chain(tmp_path)
    assert again.after_bytes <= again.before_bytes


def test_what_cannot_be_compacted(
    growth: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Invalid, match="chain_missing"):
        compact_chain(tmp_path / "absent")
    assert not (tmp_path / "absent").exists()
    folder = tmp_path / "chain"
    with (
        ChainStore.open(folder, growth.CHAIN_ID),
        pytest.raises(Unavailable, match="store_locked"),
    ):
        compact_chain(folder)
    full = shutil.disk_usage(tmp_path)._replace(free=module.SPARE_BYTES)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: full)
    with pytest.raises(Unavailable, match="disk_too_full"):
        compact_chain(folder)
    monkeypatch.undo()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / DATA_FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(Corrupt):
        compact_chain(tmp_path / "foreign")
    compact_chain(folder)


PROGRAM = """
import sys
from pathlib import Path
from p2p_aios.store.compact import compact_chain
print("begin", flush=True)
while True:
    compact_chain(Path(sys.argv[1]))
"""


@pytest.mark.parametrize("delay_ms", [1, 4, 9, 16, 30, 60])
def test_kill_at_any_moment(growth: ModuleType, tmp_path: Path, delay_ms: int) -> None:
    grow(growth, tmp_path)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"begin\n"
    time.sleep(delay_ms / 1000)
    process.kill()
    process.wait()
    process.stdout.close()
    check(growth, tmp_path)
    compact_chain(tmp_path)
    check(growth, tmp_path)
