"""What the demo makes of blocks and events, and what it shows of that."""

import io

import pytest
from rich.console import Console

from p2p_aios.types.block import Header
from p2p_aios.types.event import (
    EpochSettled,
    Event,
    RewardPaid,
    RoundOpened,
    RoundSettled,
    RoundVoided,
    TaskFinished,
    UpdateRefused,
)
from p2p_aios.types.learning import Score, TaskId
from p2p_aios.types.views import EventNotice
from p2p_aios.units import (
    ZERO_HASH,
    Address,
    Amount,
    Cid,
    Epoch,
    Hash,
    Height,
    Millis,
    View,
)
from testnet.demo.progress import Progress
from testnet.demo.view import Lines, Screen, open_view, sparkline
from testnet.quantiles import median, quantile

TASK = TaskId(Hash(b"t" * 32))
OTHER = TaskId(Hash(b"o" * 32))
ANN, BEN = Address(b"a" * 20), Address(b"b" * 20)
MODEL = Cid(bytes(36))


def header(height: int, timestamp_ms: int) -> Header:
    zero = ZERO_HASH
    return Header(
        zero, Height(height), Epoch(0), View(height), zero, Millis(timestamp_ms), ANN,
        zero, zero, zero, zero, zero, zero,
    )  # fmt: skip


def notice(event: Event, timestamp_ms: int = 0, height: int = 1) -> EventNotice:
    return EventNotice(Height(height), ZERO_HASH, Millis(timestamp_ms), None, event)


def settled(task: TaskId, number: int, correct: int) -> RoundSettled:
    score = Score(loss=360 << 23, correct=correct, rows=360)
    return RoundSettled(task, number, MODEL, score, Amount(500), (ANN, BEN))


def played() -> Progress:
    progress = Progress(task=TASK)
    for height in range(5, 9):
        progress.on_block(header(height, 500 * height), now_s=0.51 * height)
    for number, correct in enumerate((180, 270, 342)):
        opened = RoundOpened(TASK, number, MODEL, (ANN, BEN), Height(9))
        progress.on_event(notice(opened, timestamp_ms=3000 * number))
        progress.on_event(notice(settled(TASK, number, correct), timestamp_ms=3000 * number + 2000))
    return progress


def test_blocks_give_height_and_intervals() -> None:
    progress = played()
    assert progress.height == 8
    assert progress.blocks == 4
    assert progress.intervals_ms == [500, 500, 500]
    assert progress.arrivals_ms == pytest.approx([510, 510, 510])


def test_a_gap_in_heights_is_no_interval() -> None:
    progress = Progress()
    progress.on_block(header(1, 500), 0.5)
    progress.on_block(header(9, 4500), 4.5)
    assert progress.intervals_ms == []


def test_rounds_give_accuracy_duration_and_pay() -> None:
    progress = played()
    assert [r.accuracy for r in progress.rounds] == [0.5, 0.75, 0.95]
    assert [r.took_ms for r in progress.rounds] == [2000, 2000, 2000]
    assert progress.accuracy == 0.95
    assert progress.reward_of(ANN) == progress.reward_of(BEN) == 1500


def test_settled_epochs_add_to_the_rewards() -> None:
    progress = played()
    progress.on_event(notice(RewardPaid(Epoch(0), ANN, Amount(25))))
    zero = Amount(0)
    progress.on_event(notice(EpochSettled(Epoch(0), Amount(25), zero, Amount(25), zero, zero)))
    assert progress.reward_of(ANN) == 1525
    assert progress.epochs_settled == 1


def test_other_tasks_do_not_count() -> None:
    progress = Progress(task=TASK)
    progress.on_event(notice(settled(OTHER, 0, 300)))
    progress.on_event(notice(RoundVoided(OTHER, 0, "no_quorum")))
    progress.on_event(notice(TaskFinished(OTHER, MODEL, Amount(0))))
    assert (progress.rounds, progress.voided, progress.is_finished) == ([], 0, False)


def test_what_went_wrong_and_the_end_are_counted() -> None:
    progress = Progress(task=TASK)
    progress.on_event(notice(RoundVoided(TASK, 0, "too_few_updates")))
    progress.on_event(notice(UpdateRefused(TASK, 1, ANN, "update_non_finite")))
    progress.on_event(notice(TaskFinished(TASK, MODEL, Amount(0))))
    assert (progress.voided, progress.refused, progress.is_finished) == (1, 1, True)


def test_quantiles_are_samples_by_nearest_rank() -> None:
    samples = [float(value) for value in range(100, 0, -1)]
    assert median(samples) == 50
    assert quantile(samples, 0.99) == 99
    assert quantile(samples, 1.0) == 100
    assert quantile([7.0], 0.5) == 7
    assert quantile([1.0, 2.0], 0.99) == 2
    assert quantile([], 0.5) is None


def test_the_sparkline_rises_to_one() -> None:
    assert sparkline([]) == ""
    assert sparkline([0.5, 1.0]) == "▁█"
    assert sparkline([1.0, 1.0]) == "▁▁"


def test_the_screen_shows_chain_rounds_and_rewards() -> None:
    console = Console(file=io.StringIO(), width=160, force_terminal=True)
    screen = Screen(played(), {ANN: "worker-0", BEN: "worker-1"}, rounds=20)
    screen.note("training")
    console.print(screen.render())
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in ("training", "500 ms", "round 3/20", "95.00%", "worker-1", "0.00"):
        assert expected in shown


def test_without_a_terminal_there_are_plain_lines() -> None:
    console = Console(file=io.StringIO(), width=80)
    progress = played()
    with open_view(console, progress, {}, rounds=20) as view:
        assert isinstance(view, Lines)
        view.note("begun")
        view.refresh()
        view.refresh()
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[0] == "begun"
    assert lines[3].startswith("round 3/20: accuracy 95.00%, 2 updates, 2.0 s; height 8")
    assert len(lines) == 4
