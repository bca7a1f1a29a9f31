"""Supervise children that only sleep: `python sleepers.py DIR [--leash]`.

Each starts a grandchild in the same session that wipes its environment, as Ray's workers do.
"""

import logging
import sys
from functools import partial
from pathlib import Path

import trio

from p2p_aios.errors import AiosError
from testnet.ensemble import Ensemble, Stages
from testnet.layout import Layout, Plan, layout_at
from testnet.service import Phase, ServiceSpec
from testnet.supervise import supervise

CHILD = """
import subprocess, sys, time
print("begun", flush=True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={})
time.sleep(600)
"""


def compose(layout: Layout, plan: Plan) -> Stages:
    return [[sleeper(layout, node.name) for node in plan.nodes]]


def sleeper(layout: Layout, name: str, program: str = CHILD) -> ServiceSpec:
    return ServiceSpec(
        name=name,
        argv=(sys.executable, "-c", program),
        log=layout.log(name),
        folder=layout.root,
        environment={},
        stop_s=2.0,
    )


async def until_running(ensemble: Ensemble) -> None:
    while not all(service.phase is Phase.RUNNING for service in ensemble.services):
        await trio.sleep(0.02)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    leash = sys.stdin.fileno() if "--leash" in sys.argv else None
    try:
        trio.run(
            partial(supervise, layout_at(Path(sys.argv[1])), compose, until_running, leash=leash)
        )
    except AiosError as error:
        sys.exit(str(error))
