"""The overlay, its tables, and draws."""

import pytest

from p2p_aios.codec import schema
from p2p_aios.errors import Corrupt
from p2p_aios.ledger.records import Account, Due
from p2p_aios.ledger.schedule import overdue, with_due, without_due
from p2p_aios.ledger.state import State
from p2p_aios.ledger.tables import ACCOUNTS, CHAIN, TABLES, account_key
from p2p_aios.units import Amount, Hash, Height

KEY = b"k" * 20
ONE, TWO = Account(Amount(1), 0), Account(Amount(2), 7)


def test_reads_fall_through_and_writes_shadow() -> None:
    base = {account_key(KEY): ACCOUNTS.encode(ONE)}
    state = State(base)
    assert state.get(ACCOUNTS, KEY) == ONE
    state.put(ACCOUNTS, KEY, TWO)
    assert state.get(ACCOUNTS, KEY) == TWO
    assert state.writes() == {account_key(KEY): ACCOUNTS.encode(TWO)}
    assert base == {account_key(KEY): ACCOUNTS.encode(ONE)}


def test_deleting_writes_none_once_there_is_something_to_delete() -> None:
    state = State({account_key(KEY): ACCOUNTS.encode(ONE)})
    state.put(ACCOUNTS, KEY, None)
    state.put(ACCOUNTS, b"nobody", None)
    assert state.get(ACCOUNTS, KEY) is None
    assert state.writes() == {account_key(KEY): None}


def test_savepoints_nest() -> None:
    state = State({})
    outer = state.savepoint()
    state.put(ACCOUNTS, KEY, ONE)
    inner = state.savepoint()
    state.put(ACCOUNTS, KEY, TWO)
    state.rollback(inner)
    assert state.get(ACCOUNTS, KEY) == ONE
    state.rollback(outer)
    assert state.get(ACCOUNTS, KEY) is None
    assert state.writes() == {}


def test_writing_back_what_was_there_is_no_write() -> None:
    state = State({account_key(KEY): ACCOUNTS.encode(ONE)})
    state.put(ACCOUNTS, KEY, TWO)
    state.put(ACCOUNTS, KEY, ONE)
    assert state.writes() == {}


def test_a_missing_or_mangled_record_is_our_own_fault() -> None:
    with pytest.raises(Corrupt, match="state_missing"):
        State({}).require(CHAIN)
    for value in (b"\xff", b"\x01", b"\x83\x01\x02\x03"):
        with pytest.raises(Corrupt, match="state_corrupt"):
            State({account_key(KEY): value}).get(ACCOUNTS, KEY)
        with pytest.raises(Corrupt, match="state_corrupt"):
            State({CHAIN.prefix: value}).get(CHAIN)


def test_the_short_way_of_accounts_writes_what_the_schema_writes() -> None:
    for account in (ONE, TWO, Account(Amount(2**64 - 1), 2**64 - 1)):
        data = ACCOUNTS.encode(account)
        assert data == schema.encode(account)
        assert ACCOUNTS.decode(data) == schema.decode(Account, data) == account


def test_prefixes_are_single_and_distinct() -> None:
    assert len(TABLES) == 13
    assert all(len(prefix) == 1 for prefix in TABLES)


def test_what_is_due_stays_in_order() -> None:
    a, b, c = (Hash(bytes([i]) * 32) for i in range(3))
    entries: tuple[Due, ...] = ()
    for id, height in ((a, 9), (b, 3), (c, 3)):
        entries = with_due(entries, id, Height(height))
    assert [entry.id for entry in entries] == [b, c, a]
    assert [entry.id for entry in overdue(entries, Height(4))] == [b, c]
    assert overdue(entries, Height(3)) == ()
    assert [entry.id for entry in with_due(entries, b, Height(20))] == [c, a, b]
    assert [entry.id for entry in without_due(entries, c)] == [b, a]
