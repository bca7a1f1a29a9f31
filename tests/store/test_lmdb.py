"""One LMDB environment: transactions, growth, ownership, damage."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import lmdb
import pytest
import trio

from p2p_aios.errors import Corrupt, InvariantBroken, Unavailable
from p2p_aios.store import lmdb as store_lmdb
from p2p_aios.store.lmdb import Environment, open_environment
from p2p_aios.store.writer import SerialWriter

PAGE = 4096


def open_test(folder: Path, **options) -> Environment:
    return open_environment(folder, "test", 1, ["left", "right"], sync=False, **options)


def put(environment: Environment, table: str, **pairs: bytes) -> None:
    def change(writer):
        for key, value in pairs.items():
            writer.put(table, key.encode(), value)

    environment.write(change)


def test_tables_are_apart_and_survive_reopening(tmp_path: Path) -> None:
    with open_test(tmp_path / "new" / "folder") as environment:
        put(environment, "left", a=b"1", b=b"2")
        put(environment, "right", a=b"3")
    with open_test(tmp_path / "new" / "folder") as environment, environment.read() as reader:
        assert reader.get("left", b"a") == b"1"
        assert reader.get("right", b"a") == b"3"
        assert reader.get("right", b"b") is None
        assert reader.count("left") == 2


def test_a_failing_change_leaves_nothing(tmp_path: Path) -> None:
    with open_test(tmp_path) as environment:

        def change(writer):
            writer.put("left", b"a", b"1")
            raise ValueError("halfway")

        with pytest.raises(ValueError, match="halfway"):
            environment.write(change)
        with environment.read() as reader:
            assert reader.get("left", b"a") is None


def test_ranges_prefixes_and_the_last(tmp_path: Path) -> None:
    with open_test(tmp_path) as environment:
        put(environment, "left", a1=b"", a2=b"", b1=b"", b2=b"", c=b"")
        with environment.read() as reader:
            keys = [key for key, _ in reader.items("left")]
            assert keys == [b"a1", b"a2", b"b1", b"b2", b"c"]
            assert [key for key, _ in reader.items("left", prefix=b"b")] == [b"b1", b"b2"]
            assert [key for key, _ in reader.items("left", first=b"b2")] == [b"b2", b"c"]
            assert [key for key, _ in reader.items("left", b"a2", b"a")] == [b"a2"]
            assert list(reader.items("left", prefix=b"d")) == []
            assert list(reader.items("right")) == []
            assert reader.last("left") == (b"c", b"")
            assert reader.last("right") is None


def test_a_reader_keeps_its_view(tmp_path: Path) -> None:
    with open_test(tmp_path) as environment:
        put(environment, "left", a=b"old")
        with environment.read() as reader:
            put(environment, "left", a=b"new")
            assert reader.get("left", b"a") == b"old"
        with environment.read() as reader:
            assert reader.get("left", b"a") == b"new"


def test_ascending_pairs(tmp_path: Path) -> None:
    with open_test(tmp_path) as environment:
        for first in (100, 200, 0):
            pairs = [(n.to_bytes(8, "big"), b"") for n in range(first, first + 50)]
            environment.write(lambda writer, pairs=pairs: writer.put_ascending("left", pairs))
        environment.write(lambda writer: writer.put_ascending("left", []))
        with environment.read() as reader:
            found = [int.from_bytes(key, "big") for key, _ in reader.items("left")]
        assert found == [*range(50), *range(100, 150), *range(200, 250)]


def test_appended_pairs_fill_their_pages_and_ascend(tmp_path: Path) -> None:
    """Two to a page: `put` would split every page in halves."""

    def append(environment: Environment, numbers: range) -> None:
        def change(writer):
            for number in numbers:
                writer.append("left", number.to_bytes(8, "big"), bytes(1_800))

        environment.write(change)

    with open_test(tmp_path) as environment:
        for first in range(0, 100, 10):
            append(environment, range(first, first + 10))
        with environment.read() as reader:
            assert reader.count("left") == 100
            assert reader.page_bytes("left") <= (100 / 2 + 1) * PAGE
        for late in (98, 99):
            with pytest.raises(InvariantBroken, match="past the table's last"):
                append(environment, range(late, late + 1))


def test_keys_have_bounds(tmp_path: Path) -> None:
    with open_test(tmp_path) as environment:
        for key in (b"", bytes(512)):
            with pytest.raises(InvariantBroken):
                environment.write(lambda writer, key=key: writer.put("left", key, b""))


def test_the_map_grows(tmp_path: Path) -> None:
    with open_test(tmp_path, map_bytes=64 * PAGE) as environment:
        runs = []

        def change(writer):
            runs.append(None)
            for n in range(500):
                writer.put("left", n.to_bytes(4, "big"), bytes(4000))

        environment.write(change)
        assert len(runs) > 2
        assert environment.map_bytes() > 500 * PAGE
        with environment.read() as reader:
            assert reader.count("left") == 500


def test_growth_waits_for_readers(tmp_path: Path) -> None:
    with open_test(tmp_path, map_bytes=64 * PAGE) as environment:
        put(environment, "left", a=b"1")
        reader = environment.read()
        large = {"b": bytes(200 * PAGE)}
        thread = threading.Thread(target=put, args=(environment, "left"), kwargs=large)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
        assert reader.get("left", b"a") == b"1"  # not invalidated under the reader's feet
        reader.close()
        reader.close()
        thread.join(10)
        assert not thread.is_alive()
        with environment.read() as again:
            assert again.get("left", b"b") == bytes(200 * PAGE)


def test_growth_is_not_starved_by_a_stream_of_readers(tmp_path: Path) -> None:
    """Each reader is short, but there is always one: the next begins before the last one ends."""
    with open_test(tmp_path, map_bytes=64 * PAGE) as environment:
        put(environment, "left", a=b"1")
        stop = threading.Event()
        turns = [threading.Semaphore(1), threading.Semaphore(0)]
        waits_s: list[float] = []

        def read_on(own: threading.Semaphore, other: threading.Semaphore) -> None:
            while not stop.is_set():
                if not own.acquire(timeout=0.5):
                    continue
                begun_s = time.monotonic()
                with environment.read() as reader:
                    waits_s.append(time.monotonic() - begun_s)
                    other.release()
                    time.sleep(0.02)
                    assert reader.get("left", b"a") == b"1"

        threads = [threading.Thread(target=read_on, args=pair) for pair in (turns, turns[::-1])]
        for thread in threads:
            thread.start()
        try:
            begun_s = time.monotonic()
            put(environment, "left", b=bytes(200 * PAGE))
            assert time.monotonic() - begun_s < 5
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert len(waits_s) > 2
        assert max(waits_s) < 1


def test_a_reader_inside_a_reader_waits_for_growth_a_moment_only(tmp_path: Path) -> None:
    with open_test(tmp_path, map_bytes=64 * PAGE) as environment:
        put(environment, "left", a=b"1")
        large = {"b": bytes(200 * PAGE)}
        thread = threading.Thread(target=put, args=(environment, "left"), kwargs=large)
        with environment.read():
            thread.start()
            time.sleep(0.05)
            begun_s = time.monotonic()
            with environment.read() as inner:
                assert inner.get("left", b"a") == b"1"
            assert time.monotonic() - begun_s < 1
        thread.join(10)
        assert not thread.is_alive()


def test_a_large_file_opens_with_room_to_grow(tmp_path: Path) -> None:
    with open_test(tmp_path, map_bytes=64 * PAGE) as environment:
        put(environment, "left", a=bytes(500 * PAGE))
    with open_test(tmp_path, map_bytes=64 * PAGE) as environment:
        assert environment.map_bytes() >= 1000 * PAGE


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(Unavailable, match="store_failed"):
        open_test(tmp_path / "file" / "store")


@pytest.mark.parametrize("read", ["items", "last", "count", "page_bytes", "get"])
def test_what_lmdb_raises_while_reading_is_told_as_ours(tmp_path: Path, read: str) -> None:
    environment = open_test(tmp_path)
    put(environment, "left", a=b"1")
    reader = environment.read()
    environment.close()
    arguments = ("left", b"a") if read == "get" else ("left",)
    with pytest.raises(Unavailable, match="store_failed"):
        list(getattr(reader, read)(*arguments))


def test_growth_has_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_test(tmp_path, map_bytes=64 * PAGE) as environment:
        monkeypatch.setattr(store_lmdb, "GROW_WAIT_S_MAX", 0.05)
        with environment.read(), pytest.raises(Unavailable, match="store_busy"):
            put(environment, "left", a=bytes(100 * PAGE))
        monkeypatch.setattr(store_lmdb, "MAP_BYTES_MAX", 1000 * PAGE)
        with pytest.raises(Unavailable, match="store_full"):
            put(environment, "left", a=bytes(2000 * PAGE))
        put(environment, "left", a=b"still usable")


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    with open_test(tmp_path), pytest.raises(Unavailable, match="store_locked"):
        open_test(tmp_path)
    with open_test(tmp_path):
        pass


def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path\n"
        "from p2p_aios.store.lmdb import open_environment\n"
        "owner = open_environment(Path(sys.argv[1]), 'test', 1, ['left', 'right'])\n"
        "print('open', flush=True); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"open\n"
            with pytest.raises(Unavailable, match="store_locked"):
                open_test(tmp_path)
        finally:
            child.kill()
    with open_test(tmp_path):
        pass


def test_another_format_is_refused(tmp_path: Path) -> None:
    with open_test(tmp_path):
        pass
    for kind, version in (("other", 1), ("test", 2)):
        with pytest.raises(Corrupt, match="store_foreign"):
            open_environment(tmp_path, kind, version, ["left"])
    with open_test(tmp_path):
        pass


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as txn:
        txn.put(b"their", b"data")
    with pytest.raises(Corrupt, match="store_foreign"):
        open_test(tmp_path)


def test_garbage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(os.urandom(16 * PAGE))
    with pytest.raises(Corrupt, match="store_damaged"):
        open_test(tmp_path)


@pytest.mark.parametrize("kept", [1, 100, PAGE, PAGE + 1, 2 * PAGE, 3 * PAGE, 0.5, -PAGE])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: float) -> None:
    """In a process of its own: mapping past the end of a file would end this one."""
    with open_test(tmp_path) as environment:
        for n in range(50):
            put(environment, "left", **{f"key{n}": bytes(2000)})
    data = tmp_path / "data.mdb"
    size = data.stat().st_size
    with data.open("r+b") as file:
        file.truncate(int(size * kept) if 0 < kept < 1 else int(kept) % size)
    code = (
        "import sys; from pathlib import Path\n"
        "from p2p_aios.errors import Corrupt\n"
        "from p2p_aios.store.lmdb import open_environment\n"
        "try:\n"
        "    with open_environment(Path(sys.argv[1]), 'test', 1, ['left', 'right']) as store:\n"
        "        with store.read() as reader: list(reader.items('left'))\n"
        "except Corrupt as error: print(error.code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, b"store_damaged\n"), done.stderr.decode()


async def test_writes_from_trio_are_serial() -> None:
    writer = SerialWriter()
    running, overlaps, order = [], [], []

    def write(n: int) -> int:
        overlaps.append(len(running))
        running.append(n)
        time.sleep(0.01)
        running.remove(n)
        order.append(n)
        return n * n

    async def run(n: int) -> None:
        assert await writer.run(write, n) == n * n

    async with trio.open_nursery() as nursery:
        for n in range(8):
            nursery.start_soon(run, n)
    assert overlaps == [0] * 8
    assert sorted(order) == list(range(8))


async def test_a_cancelled_write_is_finished(tmp_path: Path) -> None:
    with open_test(tmp_path) as environment:
        writer = SerialWriter()

        def slow(change_writer) -> None:
            time.sleep(0.1)
            change_writer.put("left", b"a", b"whole")

        with trio.move_on_after(0.01):
            await writer.run(environment.write, slow)
        with environment.read() as reader:
            assert reader.get("left", b"a") == b"whole"
