"""`python -m testnet`, but the last node is `lying_node.py`.

python lying_testnet.py DIR [--leash]
"""

import logging
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import trio

from testnet.ensemble import Stages
from testnet.layout import Layout, Plan, layout_at
from testnet.readiness import until_ready
from testnet.roster import AIOS, stages_of
from testnet.service import ServiceSpec
from testnet.supervise import supervise

LYING_NODE = Path(__file__).with_name("lying_node.py")


def compose(layout: Layout, plan: Plan) -> Stages:
    liar = plan.nodes[-1].name
    return [
        [lying(spec) if spec.name == liar else spec for spec in stage]
        for stage in stages_of(layout, plan)
    ]


def lying(spec: ServiceSpec) -> ServiceSpec:
    return replace(spec, argv=(sys.executable, str(LYING_NODE), *spec.argv[len(AIOS) :]))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    leash = sys.stdin.fileno() if "--leash" in sys.argv else None
    trio.run(partial(supervise, layout_at(Path(sys.argv[1])), compose, until_ready, leash=leash))
