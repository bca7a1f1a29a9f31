"""A panel member's own process for judging: one actor per gateway, one task per request."""

import numpy as np

from compute.evaluate import evaluate
from compute.judge import judge
from compute.models.initial import initial_parameters
from compute.shard import Shard
from p2p_aios.codec import schema
from p2p_aios.errors import AiosError
from p2p_aios.types.gateway import Failure, Judged, JudgeRound, failure_of
from p2p_aios.types.learning import Activation, ModelKind, ModelSpec


class PanelActor:
    """Recomputes rounds; holds nothing between requests."""

    def judge(
        self, request: bytes, base: bytes, shard: bytes, *updates: bytes
    ) -> tuple[str, bytes]:
        """Name and encoding of a Judged or a Failure; errors travel as data, not as pickles.

        request: an encoded JudgeRound; updates: the blobs of those that are not None, in order.
        """
        reply: Judged | Failure
        try:
            reply = _judge(schema.decode(JudgeRound, request), base, shard, updates)
        except AiosError as error:
            reply = failure_of(0, error)
        return type(reply).__name__, schema.encode(reply)

    def warm_up(self) -> None:
        """Import and compute what the first judgement would otherwise wait for."""
        spec = ModelSpec(ModelKind.LINEAR, (1, 2), Activation.RELU)
        rows = Shard(np.zeros((1, 1), np.int32), np.zeros(1, np.int64))
        evaluate(spec, initial_parameters(spec, b""), rows)


def _judge(round: JudgeRound, base: bytes, shard: bytes, updates: tuple[bytes, ...]) -> Judged:
    served = iter(updates)
    blobs = [None if cid is None else next(served) for cid in round.updates]
    found = judge(round.task, base, blobs, shard)
    return Judged(found.verdicts, found.aggregate, found.score)
