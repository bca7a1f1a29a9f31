"""kill -9 while a journal is appended to, begun anew and cut: what was durable is there again."""

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from p2p_aios.consensus.records import Forgotten, JournalBirth
from p2p_aios.store.journal import open_journal
from p2p_aios.types.vote import Vote
from p2p_aios.units import Height, Millis

PROGRAM = """
import sys
from pathlib import Path
from p2p_aios.consensus.records import JournalBirth
from p2p_aios.store.journal import open_journal
from p2p_aios.types.vote import Ballot, Vote, VoteKind
from p2p_aios.units import ZERO_HASH, Epoch, Height, Millis, Signature, View

journal = open_journal(Path(sys.argv[1]), JournalBirth(Millis(1), Height(0)), 1000)
view = int(sys.argv[2])
while True:
    view += 1
    ballot = Ballot(VoteKind.NULLIFY, Epoch(0), View(view), ZERO_HASH)
    journal.append([Vote(ballot, 0, Signature(bytes(64)))])
    print(view, flush=True)
    if view % 12 == 0:
        journal.cut((Epoch(0), View(view - 6)))
"""
LIVES = 4


def live_and_die(folder: Path, view: int, appends: int) -> int:
    """The last view whose vote a process said is durable, before it was killed."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder), str(view)],
        stdout=subprocess.PIPE,
        env=environment,
    ) as child:
        assert child.stdout is not None
        for _ in range(appends):
            view = int(child.stdout.readline())
        child.kill()
        for line in child.stdout.read().split():
            view = int(line)
    return view


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 8))]
)
def test_kill_at_any_moment(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    view = 0
    for _ in range(LIVES):
        view = live_and_die(tmp_path, view, dice.randint(1, 40))
        journal = open_journal(tmp_path, JournalBirth(Millis(9), Height(9)))
        records = list(journal.replay())
        journal.close()
        assert journal.birth == JournalBirth(Millis(1), Height(0))
        forgotten = max((r.view for r in records if isinstance(r, Forgotten)), default=0)
        kept = [r.ballot.view for r in records if isinstance(r, Vote)]
        assert kept == list(range(kept[0], kept[-1] + 1))
        assert kept[0] <= forgotten + 1
        assert kept[-1] >= view
        view = kept[-1]
