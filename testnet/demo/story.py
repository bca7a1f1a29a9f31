"""The demo from beginning to end.

Up comes a network of real processes; a task goes to the chain, contributors train it round by
round while transfers keep the chain busy; then everything claimed is checked by other means.
"""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import trio
from rich.console import Console

from p2p_aios.crypto.keystore import load_keystore
from p2p_aios.errors import Unavailable
from p2p_aios.sdk import Client
from p2p_aios.types.learning import SubmitTask
from p2p_aios.units import Address
from testnet.control import open_testnet, start_supervisor, take_down, wait_ready
from testnet.creation import Asked, prepare
from testnet.demo.checks import Findings, check_everything
from testnet.demo.figures import Figures, figures_of, shortfalls, tell
from testnet.demo.follow import follow
from testnet.demo.progress import Progress
from testnet.demo.submission import submit_digits
from testnet.demo.view import View, open_view
from testnet.digits import digits_task
from testnet.layout import DEFAULT_ROOT, WALLETS, Layout, NodePlan, Plan, layout_at
from testnet.state import EnsembleState
from testnet.traffic import Traffic, Wallet

TRANSFERS_PER_S: Final = 20.0
TRAINING_S_MAX: Final = 165.0
"""With set-up and checks the whole stays below four minutes."""
DRAIN_S_MAX: Final = 3.0
"""For the last transfers to become final."""
VIEW_S: Final = 0.25


@dataclass(frozen=True, slots=True)
class Wish:
    """What the demo was asked to do."""

    rounds: int = 20
    nodes: int = 4
    workers: int = 3
    preset: str = "fast"
    root: Path | None = None
    """None: a temporary folder, or `.testnet` where the network is kept."""
    is_kept: bool = False
    """Leave the network running."""


@dataclass(frozen=True, slots=True)
class Outcome:
    figures: Figures
    problems: tuple[str, ...]
    """What keeps it from being a success; normally nothing."""


async def run_demo(wish: Wish, console: Console) -> Outcome:
    """Tell the story on `console`. Raises what starting a testnet or a check raises."""
    begun_s = trio.current_time()
    progress = Progress()
    with _folder(wish, console) as layout:
        asked = Asked(wish.nodes, wish.workers, wish.preset, has_ray=True)
        plan = await trio.to_thread.run_sync(prepare, layout, asked)
        names = _contributors(layout, plan)
        with open_view(console, progress, names, wish.rounds) as view:
            view.note(
                f"{wish.nodes} validators, {wish.workers} contributors on Ray, in {layout.root}"
            )
            async with _network(layout, wish.is_kept, partial(_tell_start, view)):
                setup_s = trio.current_time() - begun_s
                view.note(f"the network is up after {setup_s:.0f} s")
                task = digits_task(layout, plan, wish.rounds)
                await _train(layout, plan, task, progress, view)
                view.note("checking: one round recomputed, supply, chains, central training")
                findings = await _check(plan, progress)
            view.note("left running" if wish.is_kept else "the network is down")
    total_s = trio.current_time() - begun_s
    figures = figures_of(progress, findings, names, setup_s, total_s)
    problems = shortfalls(figures, findings, wish.rounds)
    tell(console, figures, findings, problems)
    if wish.is_kept:
        where = "" if layout.root == DEFAULT_ROOT.resolve() else f" --dir {layout.root}"
        console.print(f"still running: `aios testnet status{where}`, `aios testnet down{where}`")
    return Outcome(figures, problems)


@contextmanager
def _folder(wish: Wish, console: Console) -> Iterator[Layout]:
    """The testnet's folder; a temporary one is removed unless something went wrong in it."""
    if wish.root is not None or wish.is_kept:
        yield layout_at(wish.root or DEFAULT_ROOT)
        return
    folder = Path(tempfile.mkdtemp(prefix="aios-demo-"))
    try:
        yield layout_at(folder)
    except BaseException:
        console.print(f"what the processes said is in {folder / 'logs'}")
        raise
    shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def _network(
    layout: Layout, is_kept: bool, on_progress: "partial[None]"
) -> AsyncIterator[None]:
    if not is_kept:
        async with open_testnet(layout, on_progress):
            yield
        return
    supervisor = start_supervisor(layout)
    try:
        await wait_ready(layout, supervisor, on_progress)
        yield
    except BaseException:
        with trio.CancelScope(shield=True):
            await take_down(layout)
        raise


def _contributors(layout: Layout, plan: Plan) -> dict[Address, str]:
    """Names of the workers by address."""
    return {
        load_keystore(layout.worker(worker.name) / "key.pem", None).address: worker.name
        for worker in plan.workers
    }


def _tell_start(view: View, state: EnsembleState) -> None:
    if state.waiting_for:
        view.note(f"starting; waiting for {', '.join(state.waiting_for)}")


async def _train(
    layout: Layout, plan: Plan, task: SubmitTask, progress: Progress, view: View
) -> None:
    """Submit the task and see its rounds settle, with transfers going on beside."""
    traffic = Traffic(progress.on_final)
    async with Client(plan.nodes[0].url) as client, trio.open_nursery() as nursery:
        is_following = trio.Event()
        nursery.start_soon(follow, client, progress, view.refresh, is_following)
        await is_following.wait()
        id = await submit_digits(layout, client, task, progress.follow_task)
        view.note(f"task {id.hex()[:16]} is on the chain: {task.rounds} rounds")
        wallets = _wallets(layout, plan.nodes)
        async with trio.open_nursery() as sending:
            sending.start_soon(traffic.run, wallets, TRANSFERS_PER_S)
            with trio.move_on_after(TRAINING_S_MAX):
                while not progress.is_finished:
                    await trio.sleep(VIEW_S)
                    view.refresh()
            sending.cancel_scope.cancel()
        await traffic.drain(DRAIN_S_MAX)
        nursery.cancel_scope.cancel()


def _wallets(layout: Layout, nodes: tuple[NodePlan, ...]) -> list[Wallet]:
    """Everybody sends to the next, each through a node of its own as far as there are enough."""
    keys = [load_keystore(layout.wallet(name), None) for name in WALLETS]
    return [
        Wallet(key, nodes[number % len(nodes)].url, keys[(number + 1) % len(keys)].address)
        for number, key in enumerate(keys)
    ]


async def _check(plan: Plan, progress: Progress) -> Findings:
    if progress.task is None:
        raise Unavailable("check_failed", "the task never reached the chain")
    last = progress.rounds[-1].number if progress.rounds else None
    return await check_everything(plan, progress.task, last, max(1, len(progress.rounds)))
