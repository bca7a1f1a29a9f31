"""What the demo checks at the end, each by other means than those that made it.

A round is recomputed by another process, from blobs that another node serves. Central training
runs in another process, so that its imports cost this one nothing. The supply is added up account
by account. All nodes are asked for every block.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import trio

from p2p_aios.errors import Unavailable
from p2p_aios.sdk import Client
from p2p_aios.types.learning import TaskId
from testnet.inspection import audit_supply, compare_nodes
from testnet.invariants import Differences
from testnet.layout import NodePlan, Plan

CHECK_S_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Findings:
    """Outcome of the checks."""

    verified_round: int | None
    """The round that was recomputed; None where none had settled."""
    verification: Differences
    supply: Differences
    chains: Differences
    central_accuracy: float
    """0..1, of the same model after the same passes over all rows in one place."""

    @property
    def is_verified(self) -> bool:
        return self.verified_round is not None and not self.verification


async def check_everything(
    plan: Plan, task: TaskId, round: int | None, rounds_trained: int
) -> Findings:
    """Raises Unavailable(`check_failed`) where a check itself could not be made."""
    central: list[float] = []
    verification: list[Differences] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_central, rounds_trained, central)
        if round is not None:
            nursery.start_soon(_verify, _other_node(plan, 2), task, round, verification)
    chains = await compare_nodes(plan.nodes)
    async with Client(_other_node(plan, 1).url) as client:
        _, supply = await audit_supply(client)
    return Findings(
        verified_round=round,
        verification=verification[0] if verification else (),
        supply=supply,
        chains=chains,
        central_accuracy=central[0],
    )


def _other_node(plan: Plan, number: int) -> NodePlan:
    """Not the one that the demo talked to, where there is another."""
    return plan.nodes[number % len(plan.nodes)]


async def _verify(node: NodePlan, task: TaskId, round: int, found: list[Differences]) -> None:
    asked = ["verify", "round", "--task", task.hex(), "--round", f"{round}"]
    answer = await _run("p2p_aios.cli.main", ["--rpc", node.url, "--json", *asked])
    found.append(tuple(answer["differences"]))


async def _central(rounds: int, found: list[float]) -> None:
    answer = await _run("testnet.demo.central", [f"{rounds}"])
    found.append(answer["accuracy"])


async def _run(module: str, arguments: Sequence[str]) -> dict[str, Any]:
    """The object that a program of ours prints as its last line, whatever its exit status."""
    command = [sys.executable, "-m", module, *arguments]
    with trio.move_on_after(CHECK_S_MAX):
        done = await trio.run_process(
            command, capture_stdout=True, capture_stderr=True, check=False, stdin=subprocess.DEVNULL
        )
        try:
            answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            lines = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
            raise Unavailable("check_failed", f"{module}: {' / '.join(lines)}") from None
        return answer
    raise Unavailable("check_failed", f"{module} took over {CHECK_S_MAX:.0f} s")
