"""What the demo has seen so far, gathered from blocks and events as a client receives them."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

from p2p_aios.types.block import Header
from p2p_aios.types.event import (
    EpochSettled,
    RewardPaid,
    RoundOpened,
    RoundSettled,
    RoundVoided,
    TaskFinished,
    UpdateRefused,
)
from p2p_aios.types.learning import Score, TaskId
from p2p_aios.types.views import EventNotice
from p2p_aios.units import Address, Amount, Cid, Height

SAMPLES_MAX: Final = 20_000
"""Kept of each series; hours of blocks, and more than the demo's longest run makes."""


@dataclass(frozen=True, slots=True)
class SettledRound:
    number: int
    score: Score
    aggregate: Cid
    contributors: int
    took_ms: int
    """From the block that opened it to the one that settled it, by their timestamps."""
    height: Height

    @property
    def accuracy(self) -> float:
        """0..1 on the test shard."""
        return self.score.correct / max(1, self.score.rows)


@dataclass(slots=True)
class Progress:
    """A run as its own client sees it; times of arrival are that client's monotonic clock."""

    task: TaskId | None = None
    first_height: int | None = None
    height: int = 0
    epoch: int = 0
    last_timestamp_ms: int | None = None
    last_arrival_s: float | None = None
    intervals_ms: list[float] = field(default_factory=list)
    """Between timestamps of consecutive headers."""
    arrivals_ms: list[float] = field(default_factory=list)
    """Between arrivals of consecutive finalized blocks."""
    finality_ms: list[float] = field(default_factory=list)
    """From submitting a transfer to hearing that it is final."""
    rounds: list[SettledRound] = field(default_factory=list)
    voided: int = 0
    refused: int = 0
    rewards: dict[Address, int] = field(default_factory=lambda: defaultdict(int))
    """By recipient: what rounds paid and what epochs settled."""
    epochs_settled: int = 0
    is_finished: bool = False
    """Whether the task has ended."""
    opened_ms: dict[int, int] = field(default_factory=dict)
    """Timestamp of the block that opened each round."""

    @property
    def blocks(self) -> int:
        """Finalized since the first one seen."""
        return 0 if self.first_height is None else self.height - self.first_height + 1

    @property
    def accuracy(self) -> float | None:
        return self.rounds[-1].accuracy if self.rounds else None

    def follow_task(self, task: TaskId) -> None:
        """Count the rounds of this task from now on."""
        self.task = task

    def on_block(self, header: Header, now_s: float) -> None:
        """A finalized block arrived; `now_s`: monotonic clock."""
        if self.first_height is None:
            self.first_height = header.height
        if self.last_timestamp_ms is not None and header.height == self.height + 1:
            _keep(self.intervals_ms, header.timestamp_ms - self.last_timestamp_ms)
        if self.last_arrival_s is not None:
            _keep(self.arrivals_ms, 1000 * (now_s - self.last_arrival_s))
        self.height, self.epoch = header.height, header.epoch
        self.last_timestamp_ms, self.last_arrival_s = header.timestamp_ms, now_s

    def on_final(self, took_s: float) -> None:
        """One transfer is final, `took_s` after it was submitted."""
        _keep(self.finality_ms, 1000 * took_s)

    def on_event(self, notice: EventNotice) -> None:
        match notice.event:
            case RewardPaid(recipient=recipient, amount=amount):
                self.rewards[recipient] += amount
            case EpochSettled():
                self.epochs_settled += 1
            case RoundOpened(task=task, round=number) if task == self.task:
                self.opened_ms[number] = notice.timestamp_ms
            case RoundSettled(task=task) as settled if task == self.task:
                self._on_settled(settled, notice)
            case RoundVoided(task=task) if task == self.task:
                self.voided += 1
            case UpdateRefused(task=task) if task == self.task:
                self.refused += 1
            case TaskFinished(task=task) if task == self.task:
                self.is_finished = True

    def reward_of(self, address: Address) -> Amount:
        return Amount(self.rewards.get(address, 0))

    def _on_settled(self, settled: RoundSettled, notice: EventNotice) -> None:
        for contributor in settled.contributors:
            self.rewards[contributor] += settled.paid
        opened_ms = self.opened_ms.get(settled.round, notice.timestamp_ms)
        self.rounds.append(
            SettledRound(
                number=settled.round,
                score=settled.score,
                aggregate=settled.aggregate,
                contributors=len(settled.contributors),
                took_ms=notice.timestamp_ms - opened_ms,
                height=notice.height,
            )
        )


def _keep(samples: list[float], value: float) -> None:
    if len(samples) < SAMPLES_MAX:
        samples.append(value)
