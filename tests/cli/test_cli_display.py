"""What people see: values below each other, and what belongs to one indented below it."""

from dataclasses import dataclass

import pytest

from p2p_aios.cli.display import emit, emit_fields, print_table
from p2p_aios.cli.session import open_session
from p2p_aios.types.event import Event, RewardPaid
from p2p_aios.types.learning import Score
from p2p_aios.types.transaction import Action, Transfer
from p2p_aios.units import Address, Amount, Epoch, Hash, Millis

BOB = Address(bytes(20))


@dataclass(frozen=True, slots=True)
class Inner:
    height: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Outer:
    id: Hash
    inner: Inner
    action: Action
    events: tuple[Event, ...]
    ids: tuple[Hash, ...]
    score: Score
    waited_ms: Millis
    absent: int | None


OUTER = Outer(
    Hash(bytes(32)),
    Inner(3, is_new=True),
    Transfer(BOB, Amount(150_000_000)),
    (RewardPaid(Epoch(1), BOB, Amount(1)),),
    (Hash(b"\1" * 32), Hash(b"\2" * 32)),
    Score(10 << 23, correct=9, rows=10),
    Millis(1500),
    None,
)
SHOWN = f"""\
id             {"00" * 32}
inner
  height       3
  new          yes
action         Transfer
  recipient    aios1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqfevnss
  amount       1.5 AIOS
events
  0            RewardPaid
    epoch      1
    recipient  aios1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqfevnss
    amount     0.00000001 AIOS
ids
  0            {"01" * 32}
  1            {"02" * 32}
score          9 of 10 correct (90.0 %)
  loss         0.5 a row
waited         1.5 s
absent         -
"""


@pytest.mark.usefixtures("home")
def test_nested_values_are_indented(capsys: pytest.CaptureFixture[str]) -> None:
    open_session(None, False)
    emit(OUTER)
    assert capsys.readouterr().out == SHOWN


@pytest.mark.usefixtures("home")
def test_plain_fields_and_tables(capsys: pytest.CaptureFixture[str]) -> None:
    open_session(None, False)
    emit_fields({"file": "a.bin", "is_held": False, "bytes": None, "names": ["x", "y"]})
    assert capsys.readouterr().out == "file   a.bin\nheld   no\nbytes  -\nnames  x, y\n"
    print_table(("name", "is_old"), [["a", "yes"], ["longer", "no"]])
    assert capsys.readouterr().out == "name     old\na        yes\nlonger   no\n"
    print_table(("name",), [])
    assert capsys.readouterr().out == "none\n"


@pytest.mark.usefixtures("home")
def test_a_table_too_wide_for_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    open_session(None, False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    print_table(("id", "height"), [["f" * 64, "1" * 20], ["0" * 64, "2"]])
    ones, twos = capsys.readouterr().out.split("\n\n")
    assert ones == f"id      {'f' * 64}\nheight  {'1' * 20}"
    assert twos == f"id      {'0' * 64}\nheight  2\n"
