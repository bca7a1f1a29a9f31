"""The blob store: what goes in comes out, or is absent; limits, pins, damage."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest

from p2p_aios.codec.cid import DAG_CBOR, cid_of
from p2p_aios.errors import Corrupt, Invalid, Unavailable
from p2p_aios.storage.blobs import QUARANTINE_MAX, BlobStore
from p2p_aios.storage.pins import KEEP
from p2p_aios.units import Cid, Height


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BlobStore]:
    store = BlobStore(tmp_path, quota_bytes=1000, blob_bytes_max=400)
    yield store
    store.close()


def reopened(store: BlobStore, root: Path) -> BlobStore:
    store.close()
    return BlobStore(root, quota_bytes=1000, blob_bytes_max=400)


def file_of(root: Path, cid: Cid) -> Path:
    (path,) = root.glob(f"blobs/*/{cid.hex()}")
    return path


def test_what_goes_in_comes_out(store: BlobStore) -> None:
    data = bytes(range(250))
    cid = store.put(data)
    assert cid == cid_of(data)
    assert store.get(cid) == data
    assert store.has(cid)
    assert store.size(cid) == 250
    assert list(store) == [cid]
    assert store.bytes_held == 250
    assert store.put(data) == cid
    assert (len(store), store.bytes_held) == (1, 250)


def test_the_empty_blob_and_the_largest(store: BlobStore) -> None:
    for data in (b"", b"x" * 400):
        assert store.get(store.put(data)) == data


def test_structures_have_their_own_name(store: BlobStore) -> None:
    cid = store.put(b"\x80", codec=DAG_CBOR)
    assert cid == cid_of(b"\x80", DAG_CBOR)
    assert store.get(cid) == b"\x80"
    assert not store.has(cid_of(b"\x80"))


def test_absence(store: BlobStore) -> None:
    cid = cid_of(b"never stored")
    assert store.get(cid) is None
    assert store.size(cid) is None
    assert store.read(cid, 0) is None
    assert not store.has(cid)
    assert not store.remove(cid)


def test_a_blob_survives_reopening(store: BlobStore, tmp_path: Path) -> None:
    cids = [store.put(bytes([n]) * 10, until=Height(n)) for n in range(5)]
    again = reopened(store, tmp_path)
    assert sorted(cids) == list(again)
    assert again.bytes_held == 50
    assert again.pinned_until(cids[3]) == 3
    assert again.get(cids[2]) == bytes([2]) * 10
    again.close()


def test_too_large_and_mismatched(store: BlobStore) -> None:
    with pytest.raises(Invalid) as too_large:
        store.put(b"x" * 401)
    assert too_large.value.code == "blob_too_large"
    with pytest.raises(Invalid) as mismatch:
        store.put(b"data", expected=cid_of(b"other"))
    assert mismatch.value.code == "blob_mismatch"
    assert store.put(b"data", expected=cid_of(b"data", DAG_CBOR)) == cid_of(b"data", DAG_CBOR)
    assert len(store) == 1


def test_the_quota(store: BlobStore) -> None:
    first = store.put(b"a" * 400)
    store.put(b"b" * 400)
    with pytest.raises(Unavailable) as caught:
        store.put(b"c" * 201)
    assert caught.value.code == "storage_full"
    store.put(b"c" * 200)
    assert store.put(b"a" * 400) == first  # held already: needs no room
    assert store.remove(first)
    store.put(b"d" * 400)
    assert store.bytes_held == 1000


def test_reading_in_pieces(store: BlobStore) -> None:
    data = bytes(range(256))
    cid = store.put(data)
    pieces = [store.read(cid, offset, 100) for offset in range(0, 400, 100)]
    assert pieces == [data[:100], data[100:200], data[200:], b""]


def damage(path: Path, how: str) -> None:
    if how == "flip":
        data = bytearray(path.read_bytes())
        data[5] ^= 1
        path.write_bytes(data)
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif how == "longer":
        path.write_bytes(path.read_bytes() + b"x")
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("how", ["flip", "cut", "longer", "empty"])
@pytest.mark.parametrize("by", ["get", "read"])
def test_a_damaged_file_is_set_aside_and_absent(
    store: BlobStore, tmp_path: Path, how: str, by: str, caplog: pytest.LogCaptureFixture
) -> None:
    cid = store.put(b"precious bytes")
    damage(file_of(tmp_path, cid), how)
    assert (store.get(cid) if by == "get" else store.read(cid, 0)) is None
    assert not store.has(cid)
    assert store.bytes_held == 0
    assert store.damaged_count == 1
    assert "damaged" in caplog.text
    assert [file.name for file in (tmp_path / "quarantine").iterdir()] == [cid.hex()]
    store.put(b"precious bytes")
    assert store.get(cid) == b"precious bytes"


def test_damage_after_a_good_read_is_noticed(store: BlobStore, tmp_path: Path) -> None:
    cid = store.put(b"precious bytes")
    assert store.read(cid, 0, 4) == b"prec"
    damage(file_of(tmp_path, cid), "flip")
    assert store.read(cid, 4, 4) is None


def test_the_quarantine_is_bounded(store: BlobStore, tmp_path: Path) -> None:
    for number in range(QUARANTINE_MAX + 5):
        cid = store.put(b"number %d" % number)
        damage(file_of(tmp_path, cid), "flip")
        assert store.get(cid) is None
    assert len(list((tmp_path / "quarantine").iterdir())) == QUARANTINE_MAX


def test_a_file_that_vanished_is_absent(store: BlobStore, tmp_path: Path) -> None:
    cid = store.put(b"data")
    file_of(tmp_path, cid).unlink()
    assert store.get(cid) is None
    assert not store.has(cid)
    assert store.bytes_held == 0


def test_pins_decide_what_is_collected(store: BlobStore) -> None:
    short, long, kept, unpinned = (store.put(text) for text in (b"s", b"l", b"k", b"u"))
    store.pin(short, Height(10))
    store.pin_all([long, kept], Height(20))
    store.pin(kept, KEEP)
    assert store.collect(Height(10)) == ()
    assert store.collect(Height(11)) == (short,)
    assert store.get(short) is None
    assert store.collect(Height(10**18)) == (long,)
    assert {kept, unpinned} == set(store)
    assert store.pinned_until(long) is None


def test_a_pin_is_never_shortened(store: BlobStore) -> None:
    cid = store.put(b"data", until=Height(30))
    store.pin(cid, Height(5))
    store.put(b"data", until=Height(7))
    assert store.pinned_until(cid) == 30
    assert store.collect(Height(30)) == ()


def test_a_pin_may_come_before_its_blob(store: BlobStore, tmp_path: Path) -> None:
    cid = cid_of(b"later")
    store.pin(cid, Height(9))
    again = reopened(store, tmp_path)
    again.put(b"later")
    assert again.collect(Height(9)) == ()
    assert again.collect(Height(10)) == (cid,)
    again.close()


def test_removing_takes_the_pin_along(store: BlobStore) -> None:
    cid = store.put(b"data", until=Height(3))
    assert store.remove(cid)
    assert store.pinned_until(cid) is None
    store.put(b"data")
    assert store.collect(Height(100)) == ()


def test_unfinished_writes_and_foreign_files_are_ignored(store: BlobStore, tmp_path: Path) -> None:
    cid = store.put(b"data")
    (tmp_path / "incoming" / "0-draft").write_bytes(b"half")
    (file_of(tmp_path, cid).parent / "notes.txt").write_text("not a blob")
    (tmp_path / "blobs" / ".directory").write_text("nor is this")
    again = reopened(store, tmp_path)
    assert list(again) == [cid]
    assert list((tmp_path / "incoming").iterdir()) == []
    again.close()


def test_a_disk_that_refuses_leaves_nothing_behind(store: BlobStore, tmp_path: Path) -> None:
    cid = cid_of(b"data")
    (tmp_path / "blobs" / f"{cid[-1]:02x}").write_text("a file where a folder should be")
    with pytest.raises(Unavailable) as caught:
        store.put(b"data")
    assert caught.value.code == "storage_failed"
    assert store.bytes_held == 0
    assert list((tmp_path / "incoming").iterdir()) == []


@pytest.mark.parametrize("how", ["get", "read", "collect"])
def test_a_disk_that_fails_to_read_or_remove_says_so(
    store: BlobStore, tmp_path: Path, how: str
) -> None:
    """A folder in a file's place stands for a disk that answers with an error."""
    cid = store.put(b"data", until=Height(1))
    path = file_of(tmp_path, cid)
    path.unlink()
    path.mkdir()
    deeds: dict[str, Callable[[], object]] = {
        "get": lambda: store.get(cid),
        "read": lambda: store.read(cid, 0),
        "collect": lambda: store.collect(Height(2)),
    }
    with pytest.raises(Unavailable) as caught:
        deeds[how]()
    assert caught.value.code == "storage_failed"
    path.rmdir()
    assert store.collect(Height(2)) == (cid,)


def test_a_pin_that_the_disk_refused_stands_in_nobodys_way(store: BlobStore) -> None:
    store._pins._database.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON pins WHEN NEW.until = 5"
        " BEGIN SELECT RAISE(FAIL, 'disk full'); END"
    )
    with pytest.raises(Unavailable) as caught:
        store.put(b"data", until=Height(5))
    assert caught.value.code == "storage_failed"
    assert store.bytes_held == 0
    cid = store.put(b"data", until=Height(6))
    assert store.pinned_until(cid) == 6


def test_a_blob_put_again_while_it_is_collected_stays(store: BlobStore) -> None:
    cid = store.put(b"data", until=Height(1))
    choose = store._pins.run_out

    def put_meanwhile(height: Height) -> list[Cid]:
        chosen = choose(height)
        again = threading.Thread(target=store.put, args=(b"data",), kwargs={"until": Height(9)})
        again.start()
        again.join(0.1)
        waiting.append(again)
        return chosen

    waiting: list[threading.Thread] = []
    with mock.patch.object(store._pins, "run_out", put_meanwhile):
        store.collect(Height(5))
    waiting[0].join()
    assert store.get(cid) == b"data"
    assert store.pinned_until(cid) == 9


def test_a_blob_that_arrives_while_it_is_looked_for_stays(store: BlobStore) -> None:
    cid = cid_of(b"data")
    read = Path.read_bytes

    def arrive_too_late(path: Path) -> bytes:
        try:
            return read(path)
        finally:
            store.put(b"data")

    with mock.patch.object(Path, "read_bytes", arrive_too_late):
        assert store.get(cid) is None
    assert store.size(cid) == 4
    assert store.bytes_held == 4


def test_damaged_pins_stop_the_store(store: BlobStore, tmp_path: Path) -> None:
    store.close()
    for leftover in tmp_path.glob("pins.sqlite-*"):
        leftover.unlink()
    (tmp_path / "pins.sqlite").write_bytes(b"garbage" * 1000)
    with pytest.raises(Corrupt) as caught:
        BlobStore(tmp_path)
    assert caught.value.code == "pins_corrupt"


def test_many_threads(tmp_path: Path) -> None:
    store = BlobStore(tmp_path)
    blobs = [b"blob %d" % (number % 20) * 50 for number in range(80)]
    failures: list[object] = []

    def work(part: list[bytes]) -> None:
        for data in part:
            cid = store.put(data, until=Height(5))
            if store.get(cid) != data or store.read(cid, 0) != data:
                failures.append(data)

    threads = [threading.Thread(target=work, args=(blobs[start::4],)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(store) == 20
    assert store.bytes_held == sum(len(data) for data in set(blobs))
    assert len(store.collect(Height(6))) == 20
    assert store.bytes_held == 0
    store.close()
