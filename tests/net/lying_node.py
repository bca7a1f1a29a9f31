"""A validator that lies: `aios node run`, but every score it attests is one row too good."""

import sys
from dataclasses import replace

from p2p_aios.cli.main import main
from p2p_aios.node.gateway import Gateway, Load
from p2p_aios.types.gateway import Judged, JudgeRound

honest = Gateway.judge


async def judge(self: Gateway, request: JudgeRound, load: Load, timeout_s: float = 60.0) -> Judged:
    judged = await honest(self, request, load, timeout_s)
    return replace(judged, score=replace(judged.score, correct=judged.score.correct + 1))


if __name__ == "__main__":
    Gateway.judge = judge  # type: ignore[method-assign]
    sys.exit(main())
