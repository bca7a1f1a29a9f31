"""Every signature is checked once."""

import pytest

from p2p_aios.crypto.hashing import sha256
from p2p_aios.crypto.keys import KeyPair
from p2p_aios.errors import Invalid
from p2p_aios.mempool import checked
from p2p_aios.mempool.checked import CheckedCache
from p2p_aios.types.transaction import (
    CheckedTransaction,
    TransactionBody,
    Transfer,
    check_transaction,
    sign_transaction,
)
from p2p_aios.units import Address, Amount, Hash, Height

CHAIN = Hash(bytes([1]) * 32)
KEY = KeyPair.from_secret(sha256(b"sender"))


def signed(nonce: int) -> CheckedTransaction:
    action = Transfer(Address(bytes(20)), Amount(1))
    return sign_transaction(
        KEY, TransactionBody(CHAIN, KEY.public_key, nonce, Amount(1), Height(9), action)
    )


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Raw transactions that were really checked."""
    seen: list[bytes] = []

    def counting(raw: bytes, chain_id: Hash) -> CheckedTransaction:
        seen.append(raw)
        return check_transaction(raw, chain_id)

    monkeypatch.setattr(checked, "check_transaction", counting)
    return seen


def test_good_ones_are_checked_once(checks: list[bytes]) -> None:
    cache, good = CheckedCache(CHAIN), signed(0)
    assert cache.known(good.raw) is None
    assert cache.check(good.raw) == good
    assert cache.check(good.raw) is cache.known(good.raw)
    assert checks == [good.raw]


def test_refused_ones_are_checked_once(checks: list[bytes]) -> None:
    cache, raw = CheckedCache(CHAIN), signed(0).raw[:-1] + b"\x00"
    caught = []
    for _ in range(3):
        with pytest.raises(Invalid) as info:
            cache.check(raw)
        caught.append(info.value)
    assert {(error.code, error.message) for error in caught} == {
        ("signature_invalid", caught[0].message)
    }
    assert len({id(error) for error in caught}) == 3
    assert checks == [raw]


def test_results_from_a_worker_thread_are_remembered(checks: list[bytes]) -> None:
    cache, good = CheckedCache(CHAIN), signed(0)
    cache.remember(good)
    cache.remember(good)
    cache.remember_refused(b"junk", Invalid("cbor_malformed", "junk"))
    assert cache.check(good.raw) is good
    with pytest.raises(Invalid, match="junk"):
        cache.known(b"junk")
    assert checks == []
    assert len(cache) == 1


def test_the_longest_unused_is_forgotten_first() -> None:
    cache, some = CheckedCache(CHAIN, count_max=2), [signed(n) for n in range(3)]
    cache.remember(some[0])
    cache.remember(some[1])
    cache.known(some[0].raw)
    cache.remember(some[2])
    assert [cache.known(each.raw) is not None for each in some] == [True, False, True]


def test_bytes_are_bounded() -> None:
    some = [signed(n) for n in range(5)]
    cache = CheckedCache(CHAIN, bytes_max=2 * len(some[0].raw))
    for each in some:
        cache.remember(each)
    assert len(cache) == 2


def test_garbage_cannot_push_out_good_ones() -> None:
    cache, good = CheckedCache(CHAIN, count_max=4, refused_count_max=4), signed(0)
    cache.check(good.raw)
    for number in range(100):
        with pytest.raises(Invalid):
            cache.check(b"junk %d" % number)
    assert cache.known(good.raw) is not None
    with pytest.raises(Invalid):
        cache.known(b"junk 99")
    assert cache.known(b"junk 0") is None
