"""A program: runs a fixed world of random blocks and prints one digest of all that they commit to.

`test_determinism` runs it under interpreters that differ in what must not matter.
"""

import hashlib
import random

from p2p_aios.ledger.execute import build_block
from p2p_aios.types.receipt import encode_outcome
from tests.property.test_ledger_properties import PEOPLE, SHORT, candidates, funded_world

BLOCKS = 40
SEED = 7


def digest() -> str:
    """Of every block's receipts, writes and rejections, in order."""
    chance, found = random.Random(SEED), hashlib.sha256()
    world = funded_world(SHORT)
    for _ in range(BLOCKS):
        moves = [
            (chance.randrange(len(PEOPLE)), chance.randrange(13), chance.randrange(100))
            for _ in range(chance.randrange(7))
        ]
        offered = list(candidates(world, moves, is_diligent=chance.random() < 0.6))
        built = build_block(world.state, world.context(), offered)
        execution = world.block(*built.transactions)
        found.update(encode_outcome(execution.receipts, execution.events).root())
        found.update(repr(sorted(execution.writes.items())).encode())
        found.update(repr([error.code for _, error in built.rejected]).encode())
    return found.hexdigest()


if __name__ == "__main__":
    print(digest())
